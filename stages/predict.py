"""Predict the classes of any images: a folder, an archive, a pattern such as 'photos/*.jpg', or one file.

\b
  python -m stages.predict --images photos --out predictions.csv
  python -m stages.predict --images photos --bundle my_bundle --views flip,crops
  python -m stages.predict --images photos --threshold 0.9 --sort-into sorted

Uses the project's classifier with all that it was trained with, or a bundle of `python -m stages.export`.
The CSV has one line per file: path, class, probability, the next likeliest classes, and why a file could not be read;
and the label, if folders inside the source are named after classes. Then the accuracy is printed. Column unknown says
how unlike all classes an image is: 0.99 is farther from them than 99 % of the images of val. Answers are kept in the
part store, so of a folder that has grown only the new images are computed.
"""

from pathlib import Path
from typing import Annotated

import typer

from pipeline.config.params import read_params
from stages import _predict as steps
from stages._cli import DATA, PARAMS, Data, Debug, Job, Overrides, Quiet, Values, description, make_app
from stages._process import running
from stages._views import VIEWS_HELP

app = make_app()


@app.command(help=description())
def main(  # noqa: PLR0913, PLR0917 - one per flag
    images: Annotated[str, typer.Option(help="folder, archive, pattern or image")],
    out: Annotated[Path, typer.Option(help="the CSV file to write")] = Path("predictions.csv"),
    bundle: Annotated[Path | None, typer.Option(help="an exported bundle, not the project's classifier")] = None,
    top: Annotated[int, typer.Option(min=1, help="how many of the likeliest classes are listed")] = 5,
    views: Annotated[str | None, typer.Option("--views", "--tta", help=VIEWS_HELP)] = None,
    threshold: Annotated[float, typer.Option(min=0, max=1, help="least probability that counts as sure")] = 0.0,
    sort_into: Annotated[Path | None, typer.Option(help="folder for copies, one folder per class, and _unsure")] = None,
    submission: Annotated[bool, typer.Option("--submission", help="write `id,label` alone: file name, class")] = False,
    params: Values = PARAMS,
    override: Overrides = None,
    data: Data = DATA,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Predict, write the table, print what was read."""
    with running("predict", debug):
        job = Job("predict", read_params(params, override or []), data, out, quiet)
        wanted = steps.Predicting(images, out, bundle, top, views, threshold, sort_into, submission)
        steps.predict(job, wanted, override or [])


if __name__ == "__main__":
    app()
