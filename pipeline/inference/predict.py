"""Predictions for any files: a folder, an archive, a pattern or a single image, with or without labels."""

import glob
import itertools
import os
import warnings
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PurePath, PurePosixPath

import numpy as np

from cache.errors import InputError
from cache.layout import Array
from pipeline.inference.answers import Answerer
from pipeline.inference.known import KnownClasses
from pipeline.ingest.archive import Unreadable, read_file, walk
from pipeline.ingest.decode import EXTENSIONS, DecodeOptions, decode
from pipeline.ingest.image_magic import HEAD, image_format
from pipeline.ingest.names import ending_of, is_hidden, printable
from pipeline.metrics.csv_text import to_csv
from pipeline.metrics.intervals import accuracy_interval
from pipeline.runtime.threads import usable_threads

CHUNK = 256  # images decoded and held at once
CONFIDENCE = 0.95
LISTED = 5  # names or endings that a message gives
UNLIKE = 0.95  # share of val that is nearer to the classes than an image which is said to be unlike all of them


@dataclass(frozen=True)
class SourceFile:
    """A file of a source. name: as it is shown. inside: its path within the source, whose folders may be labels.

    `read()` gives its bytes, `read(most)` the first of them, or raises Unreadable; call it before the next file is
    asked for.
    """

    name: str
    inside: str
    read: Callable[..., bytes]


@dataclass(frozen=True)
class Listing:
    """What a source holds: the names of its images, and other files by their ending."""

    images: list[str]
    passed_over: Counter[str]


@dataclass(frozen=True)
class FilePrediction:
    """A file's prediction. classes, probabilities: the likeliest first; empty with a reason in `error`.

    label: the class that one of its folders inside the source is named after, the innermost one; empty if none is.
    unknown: how unlike all classes it is, 0 to 1; None if that is not known. inside: its path within the source.
    """

    path: str
    label: str
    classes: tuple[str, ...]
    probabilities: tuple[float, ...]
    error: str = ""
    unknown: float | None = None
    inside: str = ""


@dataclass
class Predictor:
    """How files are predicted. known: to tell images of no class; None if it cannot be told.

    computed: images that were new to the store, so far.
    """

    answer: Answerer
    top: int
    known: KnownClasses | None = None
    options: DecodeOptions | None = None
    computed: int = 0


def list_images(source: str) -> Listing:
    """The images of a source, before any is decoded. Raises InputError if there is no such source or no image."""
    images: list[str] = []
    passed_over: Counter[str] = Counter()
    for file, is_image in _files_of(source):
        if is_image:
            images.append(file.name)
        else:
            passed_over[ending_of(file.name) or "no ending"] += 1
    if not images:
        expected = ", ".join(sorted(EXTENSIONS))
        raise InputError("holds no images", where=printable(source), expected=expected, found=_counted(passed_over))
    return Listing(images, passed_over)


def predict_files(
    source: str, predictor: Predictor, advance: Callable[[int], object] = lambda count: None
) -> list[FilePrediction]:
    """Predictions of every image of a source, sorted by path. Images that the store knows are not computed again.

    A file that cannot be read has its reason in `error`. Raises InputError if the source is missing or damaged.
    """
    predictions: list[FilePrediction] = []
    bundle = predictor.answer.bundle
    options = replace(predictor.options or DecodeOptions(), fit=bundle.fit)
    decoded = partial(_decoded, size=bundle.size, options=options)
    with warnings.catch_warnings(action="ignore"), ThreadPoolExecutor(usable_threads()) as threads:  # Pillow's
        for chunk in _chunks(images_of(source)):
            pixels = list(threads.map(decoded, chunk))
            predictions += _predicted([file for file, _ in chunk], pixels, predictor)
            advance(len(chunk))
    if not predictions:
        list_images(source)  # which says what is there instead
    return sorted(predictions, key=lambda prediction: prediction.path)


def summary_of(predictions: Sequence[FilePrediction], passed_over: Counter[str] | None = None) -> str:
    """How many images, of which classes, files that are unreadable or no images, images that are unlike all classes.

    And the accuracy on labelled files.
    """
    unreadable = sum(1 for prediction in predictions if prediction.error)
    parts = [f"{len(predictions) - unreadable:,} images"]
    if unreadable:
        parts.append(f"{unreadable:,} unreadable file" + "s" * (unreadable != 1))
    if passed_over:
        parts.append(f"{_counted(passed_over)} passed over")
    counts = Counter(file.classes[0] for file in predictions if not file.error)
    rest = f" and {len(counts) - LISTED:,} other classes" if len(counts) > LISTED else ""
    parts.append(", ".join(f"{count:,} {name}" for name, count in counts.most_common(LISTED)) + rest)
    if unlike := sum(file.unknown is not None and file.unknown >= UNLIKE for file in predictions):
        parts.append(f"{unlike:,} unlike all classes (column unknown: {UNLIKE} or more)")
    right = [file.classes[0] == file.label for file in predictions if file.label and not file.error]
    if right:
        interval = accuracy_interval(sum(right), len(right), CONFIDENCE)
        parts.append(f"top-1 {interval.percent()} on {len(right):,} with a label")
    return "; ".join(filter(None, parts))


def images_of(source: str) -> Iterator[SourceFile]:
    """The images of a folder or archive, of a pattern such as `photos/*.jpg`, or a single one.

    A file without an ending is an image if its content is. Files that are named one by one, alone or by a pattern, are
    taken as images whatever their ending. Raises InputError if there is no such source.
    """
    return (file for file, is_image in _files_of(source) if is_image)


def _files_of(source: str) -> Iterator[tuple[SourceFile, bool]]:
    """Every file of a source, and whether it counts as an image; hidden files of folders and archives are left out."""
    path = Path(source).expanduser()
    there = os.path.exists(path)
    if os.path.isfile(path) and _is_image(named := _file(str(path), path.parent), by_name=True):
        yield named, True
    elif glob.has_magic(source) and not there:
        root = _fixed_folder(path)
        for name in sorted(glob.glob(str(path), recursive=True)):
            if os.path.isfile(name):
                yield _file(name, root), True
    elif not there and source != "digits":
        what = "no such folder, archive or image"
        remedy = "Check the path."
        raise InputError(what, where=printable(source), remedy=remedy)
    else:
        for entry in walk(source):
            file = SourceFile(entry.name, entry.name, entry.read)
            if not is_hidden(entry.name):
                yield file, _is_image(file)


def _file(name: str, root: Path) -> SourceFile:
    inside = PurePath(name).relative_to(root).as_posix()
    read = partial(read_file, name, os.path.dirname(os.path.realpath(name)))
    return SourceFile(printable(name), printable(inside), read)


def _fixed_folder(pattern: Path) -> Path:
    """The folder that a pattern starts from: `photos` of `photos/*/*.jpg`."""
    return Path(*itertools.takewhile(lambda part: not glob.has_magic(part), pattern.parent.parts))


def _is_image(file: SourceFile, by_name: bool = False) -> bool:
    """By its ending; by its content if it has none, or if the user has named the file."""
    ending = ending_of(file.name)
    if ending in EXTENSIONS:
        return True
    try:
        return (by_name or not ending) and image_format(file.read(HEAD)) != ""
    except Unreadable:
        return False


def _chunks(files: Iterator[SourceFile]) -> Iterator[list[tuple[SourceFile, bytes | str]]]:
    """Files with their bytes, or with the reason why there are none."""
    read = ((file, _read(file)) for file in files)
    while chunk := list(itertools.islice(read, CHUNK)):
        yield chunk


def _read(file: SourceFile) -> bytes | str:
    try:
        return file.read()
    except Unreadable as error:
        return str(error)


def _decoded(item: tuple[SourceFile, bytes | str], size: int, options: DecodeOptions | None) -> Array | str:
    file, content = item
    if isinstance(content, str):
        return content
    try:
        return decode(content, size, options, file.name)
    except Unreadable as error:
        return str(error)


def _predicted(
    files: Sequence[SourceFile], pixels: Sequence[Array | str], predictor: Predictor
) -> Iterator[FilePrediction]:
    classes = predictor.answer.bundle.classes
    rows = _rows(pixels, predictor)
    for file, image in zip(files, pixels, strict=True):
        label = label_of(file.inside, classes)
        if isinstance(image, str):
            yield FilePrediction(file.name, label, (), (), printable(image), None, file.inside)
            continue
        row, unknown = next(rows)
        order = np.argsort(-row, kind="stable")[: predictor.top]
        likeliest = tuple(classes[index] for index in order)
        probabilities = tuple(float(row[index]) for index in order)
        yield FilePrediction(file.name, label, likeliest, probabilities, "", unknown, file.inside)


def _rows(pixels: Sequence[Array | str], predictor: Predictor) -> Iterator[tuple[Array, float | None]]:
    """Probabilities [c] of each readable image, and how unknown it is."""
    readable = [image for image in pixels if not isinstance(image, str)]
    if not readable:
        return
    answers = predictor.answer(np.stack(readable))
    predictor.computed += answers.computed
    scores: Sequence[float | None] = [None] * len(readable)
    if predictor.known is not None:
        scores = predictor.known.scores(answers.features).tolist()
    yield from zip(answers.probabilities, scores, strict=True)


def label_of(inside: str, classes: Collection[str]) -> str:
    """The innermost folder of a path inside the source that is named like a class; empty if none is."""
    folders = PurePosixPath(inside).parts[:-1]
    return next((folder for folder in reversed(folders) if folder in classes), "")


def predictions_csv(predictions: Sequence[FilePrediction], top: int) -> str:
    """One row per file; the `label` column only if some file has one."""
    labelled = any(prediction.label for prediction in predictions)
    width = max((len(prediction.classes) for prediction in predictions), default=top)
    ranks = [f"_{rank}" if rank > 1 else "" for rank in range(1, width + 1)]
    scored = any(prediction.unknown is not None for prediction in predictions)
    header = ["path", *["label"] * labelled, *(name + rank for rank in ranks for name in ("class", "probability"))]
    rows = []
    for file in predictions:
        pairs = [cell for pair in zip(file.classes, file.probabilities, strict=True) for cell in pair]
        unknown = ["" if file.unknown is None else file.unknown] * scored
        rows.append([file.path, *[file.label] * labelled, *(pairs or [""] * 2 * width), *unknown, file.error])
    return to_csv([*header, *["unknown"] * scored, "error"], rows)


def submission_id(path: str) -> str:
    """The file's name without its folders."""
    return path.rpartition("/")[2]


def check_submission_ids(paths: Sequence[str]) -> None:
    """Raise InputError if two files of different folders would have the same id in a submission."""
    folders: dict[str, str] = {}
    for path in sorted(paths):
        first = folders.get(submission_id(path))
        if first is not None:
            remedy = "Predict each folder on its own, or leave out --submission."
            what = "ids are not unique: a submission names files without their folders"
            raise InputError(what, where="--submission", found=f"{first} and {path}", remedy=remedy)
        folders[submission_id(path)] = path


def submission_csv(predictions: Sequence[FilePrediction]) -> str:
    """`id,label` as for a competition (report 003): file name and class; no label if a file cannot be read.

    Raises InputError if ids are not unique.
    """
    check_submission_ids([prediction.path for prediction in predictions])
    return to_csv(("id", "label"), [(submission_id(file.path), next(iter(file.classes), "")) for file in predictions])


def shown_path(path: Path) -> str:
    """A path as one line of text, whatever bytes it has."""
    return printable(str(path))


def _counted(endings: Counter[str]) -> str:
    """`3 other files (.txt 2, no ending 1)`."""
    count = endings.total()
    if not count:
        return "no files"
    listed = ", ".join(f"{ending} {number:,}" for ending, number in endings.most_common(LISTED))
    more = ", …" if len(endings) > LISTED else ""
    return f"{count:,} other file{'s' * (count != 1)} ({listed}{more})"
