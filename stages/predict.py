"""Predict the classes of any images: a folder, an archive, a pattern such as 'photos/*.jpg', or one file.

\b
  python -m stages.predict --images photos --out predictions.csv
  python -m stages.predict --images photos --bundle my_bundle --views flip,crops

Uses the project's classifier with all that it was trained with, or a bundle of `python -m stages.export`.
The CSV has one line per file: path, class, probability, the next likeliest classes, and why a file could not be read;
and the label, if folders inside the source are named after classes. Then the accuracy is printed.
"""

from pathlib import Path
from typing import Annotated

import typer

from cache.files import write_text
from pipeline.config.params import read_params
from stages._classifier import VIEWS_HELP, check_target, choose_views, read_bundle, views_of_flag
from stages._cli import DATA, PARAMS, Data, Debug, Job, Overrides, Quiet, Values, description, make_app
from stages._process import running

app = make_app()


@app.command(help=description())
def main(  # noqa: PLR0913, PLR0917 - one per flag
    images: Annotated[str, typer.Option(help="folder, archive, pattern or image")],
    out: Annotated[Path, typer.Option(help="the CSV file to write")] = Path("predictions.csv"),
    bundle: Annotated[Path | None, typer.Option(help="an exported bundle, not the project's classifier")] = None,
    top: Annotated[int, typer.Option(min=1, help="how many of the likeliest classes are listed")] = 5,
    views: Annotated[str | None, typer.Option("--views", "--tta", help=VIEWS_HELP)] = None,
    submission: Annotated[bool, typer.Option("--submission", help="write `id,label` alone: file name, class")] = False,
    params: Values = PARAMS,
    override: Overrides = None,
    data: Data = DATA,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Predict, write the table, print what was read."""
    with running("predict", debug):
        from pipeline.inference import predict as prediction
        from pipeline.inference.restore import asked_values
        from pipeline.ingest.decode import DecodeOptions

        job = Job("predict", read_params(params, override or []), data, out, quiet)
        check_target(out)
        listing = prediction.list_images(images)
        prediction.check_submission_ids(listing.images if submission else [])
        classifier = read_bundle(job, bundle, asked_values(job.params.sections, override or []))
        names = choose_views(job, classifier, views_of_flag(job, views, bundle))
        with job.progress(len(listing.images), "image") as advance:
            options = DecodeOptions.of(job.params.prepare, classifier.bit_depth)
            rows = prediction.predict_files(images, classifier, top, names, advance, options)
        write_text(out, prediction.submission_csv(rows) if submission else prediction.predictions_csv(rows, top))
        typer.echo(f"predict: {prediction.summary_of(rows, listing.passed_over)}, in {prediction.shown_path(out)}")


if __name__ == "__main__":
    app()
