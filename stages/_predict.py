"""What predict does, step by step."""

from dataclasses import dataclass, replace
from pathlib import Path

import typer

from cache.files import write_text
from stages._classifier import check_target, read_bundle
from stages._cli import Job
from stages._measure import measured_for
from stages._views import choose_views, views_of_flag

OWN_IMAGES = (
    "these are images of prepare.source, and most of them were trained on: how good the classifier is, the figures of "
    "test say. Labels are those of the folders, without corrections"
)


@dataclass(frozen=True)
class Predicting:
    """What the command line says."""

    images: str
    out: Path
    bundle: Path | None
    top: int
    views: str | None
    threshold: float
    sort_into: Path | None
    submission: bool


def is_inside(images: str, source: str) -> bool:
    """Whether a folder or file is the source of the training images, or lies in it."""
    return Path(images).expanduser().resolve().is_relative_to(Path(source).expanduser().resolve())


def predict(job: Job, wanted: Predicting, overrides: list[str]) -> None:
    """Predict every image, write the table, sort copies, print what was found."""
    from pipeline.inference import predict as prediction
    from pipeline.inference import sort_files
    from pipeline.inference.answers import Answerer
    from pipeline.inference.restore import asked_values
    from pipeline.ingest.decode import DecodeOptions

    check_target(wanted.out)
    sort_files.check_folder(wanted.sort_into, wanted.images)
    listing = prediction.list_images(wanted.images)
    prediction.check_submission_ids(listing.images if wanted.submission else [])
    if wanted.bundle is None and is_inside(wanted.images, job.params.prepare.source):
        typer.echo(f"predict: {OWN_IMAGES}")
    classifier = read_bundle(job, wanted.bundle, asked_values(job.params.sections, overrides))
    names = views_of_flag(job, wanted.views, classifier if wanted.bundle is not None else None)
    answer = Answerer(classifier, choose_views(job, classifier.classifier, names))
    measured = measured_for(job, answer, wanted.bundle)
    options = replace(DecodeOptions.of(job.params.prepare, classifier.bit_depth), fit=classifier.fit)
    known = None if measured is None else measured.known
    predictor = prediction.Predictor(answer, wanted.top, known, options)
    with job.progress(len(listing.images), "image") as advance:
        rows = prediction.predict_files(wanted.images, predictor, advance)
    text = prediction.submission_csv(rows) if wanted.submission else prediction.predictions_csv(rows, wanted.top)
    write_text(wanted.out, text)
    if wanted.threshold:
        typer.echo(f"predict: {sort_files.threshold_line(rows, wanted.threshold, measured)}")
    if wanted.sort_into is not None:
        counts = sort_files.sort_into(wanted.sort_into, wanted.images, rows, wanted.threshold)
        unsure = f"{counts.get(sort_files.UNSURE, 0):,} of them {sort_files.UNSURE}"
        typer.echo(f"predict: copied {sum(counts.values()):,} files into {wanted.sort_into}, {unsure}")
    before = sum(not row.error for row in rows) - predictor.computed
    known_before = f", {before:,} of them equal to images answered before" if before > 0 else ""
    summary = prediction.summary_of(rows, listing.passed_over)
    typer.echo(f"predict: {summary}{known_before}, in {prediction.shown_path(wanted.out)}")
