"""Predict the classes of any images: a folder, an archive, a pattern such as 'photos/*.jpg', or one file.

\b
  python -m stages.predict --images photos --out predictions.csv
  python -m stages.predict --images photos --bundle my_bundle --tta flip,crops

Uses the head in data/train_head with the backbone in params.yaml, the full model in data/train_model where
train_model.recipe names one, or a bundle that `python -m stages.export` wrote.
The CSV has a line a file: path, class, probability, the next likeliest classes, and why a file could not be read.
Where folders bear the names of classes, it has the label too, and the accuracy is printed.
"""

from pathlib import Path
from typing import Annotated

import typer

from cache.files import write_text
from pipeline.config.params import read_params
from stages._cli import DATA, PARAMS, Data, Debug, Job, Overrides, Quiet, Values, description, make_app
from stages._process import running

app = make_app()


@app.command(help=description())
def main(  # noqa: PLR0913, PLR0917 - a flag each
    images: Annotated[str, typer.Option(help="folder, archive, pattern or image")],
    out: Annotated[Path, typer.Option(help="the CSV file to write")] = Path("predictions.csv"),
    bundle: Annotated[Path | None, typer.Option(help="an exported bundle, instead of this project's head")] = None,
    top: Annotated[int, typer.Option(min=1, help="how many of the likeliest classes are listed")] = 5,
    tta: Annotated[str, typer.Option(help="views to average over: flip,crops,jitter,affine")] = "",
    submission: Annotated[bool, typer.Option("--submission", help="write `id,label` alone: file name, class")] = False,
    params: Values = PARAMS,
    override: Overrides = None,
    data: Data = DATA,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Predict, write the table, say what was read."""
    with running("predict", debug):
        from pipeline.inference.bundle import compose_bundle, load_bundle
        from pipeline.inference.predict import predict_files, predictions_csv, submission_csv, summary_of

        job = Job("predict", read_params(params, override or []), data, out, quiet)
        size, config = job.params.prepare.size, job.params.featurize
        chosen = load_bundle(bundle) if bundle else compose_bundle(size, config, job.classifier_folder)
        views = [name.strip() for name in tta.split(",") if name.strip()]
        with job.progress(0, "image") as advance:
            found = predict_files(images, chosen, top, views, advance)
        write_text(out, submission_csv(found) if submission else predictions_csv(found, top))
        typer.echo(f"predict: {summary_of(found)}, in {out}")


if __name__ == "__main__":
    app()
