"""Copies of predicted files, sorted into a folder per class, and how sure the predictions are."""

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from cache.errors import StorageError
from cache.files import storage_error, write_bytes
from pipeline.inference.measured import Measured
from pipeline.inference.predict import FilePrediction, images_of
from pipeline.ingest.archive import Unreadable

UNSURE = "_unsure"
UNREADABLE = "_unreadable"


def threshold_line(predictions: Sequence[FilePrediction], threshold: float, measured: Measured | None) -> str:
    """How many images are sure, and how often such images were wrong on val."""
    read = [prediction for prediction in predictions if not prediction.error]
    sure = sum(prediction.probabilities[0] >= threshold for prediction in read)
    line = f"{sure:,} of {len(read):,} images are above {threshold:g}"
    error = None if measured is None else measured.error_above(threshold)
    if error is None:
        return f"{line}; how often such are wrong was not measured (no val)"
    return f"{line}; {error}. Val chose the classifier, so expect a little more: the page's Calibration is of test"


def sort_into(folder: Path, source: str, predictions: Sequence[FilePrediction], threshold: float) -> dict[str, int]:
    """Copy each file into a folder named after its class, those below the threshold into `_unsure`; count them.

    Nothing that is there already is overwritten: a file of another content gets a number. Raises StorageError.
    """
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


def _folder_of(prediction: FilePrediction, threshold: float) -> str:
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
