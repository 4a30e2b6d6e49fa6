"""What predict does, step by step."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import typer

from cache.errors import StorageError
from cache.files import storage_error, write_bytes, write_text
from stages._classifier import check_target, read_bundle
from stages._cli import Job
from stages._measure import measured_for
from stages._views import choose_views, views_of_flag

if TYPE_CHECKING:
    from pipeline.inference.measured import Measured
    from pipeline.inference.predict import FilePrediction

UNSURE = "_unsure"
UNREADABLE = "_unreadable"


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


def predict(job: Job, wanted: Predicting, overrides: list[str]) -> None:
    """Predict every image, write the table, sort copies, print what was found."""
    from pipeline.inference import predict as prediction
    from pipeline.inference.answers import Answerer
    from pipeline.inference.restore import asked_values
    from pipeline.ingest.decode import DecodeOptions

    check_target(wanted.out)
    check_folder(wanted.sort_into, wanted.images)
    listing = prediction.list_images(wanted.images)
    prediction.check_submission_ids(listing.images if wanted.submission else [])
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
        typer.echo(f"predict: {_threshold_line(rows, wanted.threshold, measured)}")
    if wanted.sort_into is not None:
        counts = sort_into(wanted.sort_into, wanted.images, rows, wanted.threshold)
        unsure = counts.get(UNSURE, 0)
        typer.echo(
            f"predict: copied {sum(counts.values()):,} files into {wanted.sort_into}, {unsure:,} of them {UNSURE}"
        )
    before = sum(not row.error for row in rows) - predictor.computed
    known_before = f", {before:,} of them known from before" if before > 0 else ""
    summary = prediction.summary_of(rows, listing.passed_over)
    typer.echo(f"predict: {summary}{known_before}, in {prediction.shown_path(wanted.out)}")


def _threshold_line(rows: "list[FilePrediction]", threshold: float, measured: "Measured | None") -> str:
    """How many images are sure, and how often such images were wrong on val."""
    read = [row for row in rows if not row.error]
    sure = sum(row.probabilities[0] >= threshold for row in read)
    line = f"{sure:,} of {len(read):,} images are above {threshold:g}"
    error = None if measured is None else measured.error_above(threshold)
    return f"{line}; {error}" if error is not None else f"{line}; how often such are wrong was not measured (no val)"


def sort_into(folder: Path, source: str, predictions: "Sequence[FilePrediction]", threshold: float) -> dict[str, int]:
    """Copy each file into a folder named after its class, those below the threshold into `_unsure`; count them.

    Nothing that is there already is overwritten: a file of another content gets a number. Raises StorageError.
    """
    from pipeline.inference.predict import images_of
    from pipeline.ingest.archive import Unreadable

    targets = {prediction.path: _folder_of(prediction, threshold) for prediction in predictions}
    counts: dict[str, int] = {}
    for file in images_of(source):
        name = targets.get(file.name)
        if name is None:
            continue
        try:
            content = file.read()
        except Unreadable:
            continue
        place = free_place(folder / name / PurePosixPath(file.inside).name, content)
        if place is not None:
            write_bytes(place, content)
        counts[name] = counts.get(name, 0) + 1
    return dict(sorted(counts.items()))


def _folder_of(prediction: "FilePrediction", threshold: float) -> str:
    if prediction.error:
        return UNREADABLE
    return prediction.classes[0] if prediction.probabilities[0] >= threshold else UNSURE


def free_place(path: Path, content: bytes) -> Path | None:
    """Where to write a file: with a number if another one has its name; None if the same one is there already."""
    number = 1
    place = path
    try:
        while place.exists():
            if place.read_bytes() == content:
                return None
            number += 1
            place = path.with_name(f"{path.stem}-{number}{path.suffix}")
    except OSError as error:
        raise storage_error(place, error) from error
    return place


def check_folder(folder: Path | None, source: str) -> None:
    """Refuse a folder of copies that lies in the source, or that cannot be written."""
    if folder is None:
        return
    path = Path(source).expanduser().absolute()
    if path.is_dir() and folder.absolute().is_relative_to(path):
        remedy = "Name a folder outside of it."
        raise StorageError("lies in the folder that is predicted", where=folder, remedy=remedy)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise storage_error(folder, error) from error
