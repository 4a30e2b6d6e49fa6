"""Predictions for any files: a folder, an archive, a pattern or one image, with or without labels."""

import glob
import itertools
import os
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np

from cache.errors import InputError
from cache.layout import Array
from pipeline.inference.bundle import Bundle
from pipeline.ingest.archive import Entry, Unreadable, is_hidden, read_file, walk
from pipeline.ingest.decode import EXTENSIONS, decode
from pipeline.metrics.csv_text import to_csv
from pipeline.metrics.intervals import accuracy_interval
from pipeline.runtime.threads import usable_threads

CHUNK = 256  # images decoded and held at once
CONFIDENCE = 0.95


@dataclass(frozen=True)
class FilePrediction:
    """What is said of one file. classes, probabilities: the likeliest first; empty with a reason in `error`.

    label: the class whose name one of its folders bears, the innermost one; empty if none does.
    """

    path: str
    label: str
    classes: tuple[str, ...]
    probabilities: tuple[float, ...]
    error: str = ""


def predict_files(
    source: str,
    bundle: Bundle,
    top: int,
    views: Collection[str] = (),
    advance: Callable[[int], object] = lambda count: None,
) -> list[FilePrediction]:
    """Predictions of every image of a source, sorted by path. Raises InputError where it holds none."""
    found: list[FilePrediction] = []
    with ThreadPoolExecutor(usable_threads()) as threads:
        for chunk in _chunks(images_of(source)):
            pixels = list(threads.map(partial(_decoded, size=bundle.size), chunk))
            found += _predicted([name for name, _ in chunk], pixels, bundle, top, views)
            advance(len(chunk))
    if not found:
        raise InputError("holds no images", where=source, expected=", ".join(sorted(EXTENSIONS)))
    return sorted(found, key=lambda one: one.path)


def summary_of(found: Sequence[FilePrediction]) -> str:
    """How many images, how many unreadable files, and the accuracy where files have labels, with its 95 % interval."""
    lost = sum(1 for one in found if one.error)
    line = f"{len(found) - lost:,} images" + (f", {lost:,} unreadable files" if lost else "")
    judged = [one.classes[0] == one.label for one in found if one.label and not one.error]
    if not judged:
        return line
    interval = accuracy_interval(sum(judged), len(judged), CONFIDENCE)
    return f"{line}, top-1 {interval.percent()} on {len(judged):,} with a label"


def images_of(source: str) -> Iterator[Entry]:
    """The images of a folder or archive, of a pattern such as `photos/*.jpg`, or a single one."""
    path = Path(source).expanduser()
    if path.is_file() and path.suffix.lower() in EXTENSIONS:
        return iter([_file(str(path))])
    if glob.has_magic(source) and not path.exists():
        names = sorted(glob.glob(str(path), recursive=True))
        return iter([_file(name) for name in names if os.path.isfile(name)])
    suffixes = ((PurePosixPath(entry.name).suffix.lower(), entry) for entry in walk(source))
    return (entry for suffix, entry in suffixes if suffix in EXTENSIONS and not is_hidden(entry.name))


def _file(name: str) -> Entry:
    return Entry(name, partial(read_file, name, os.path.dirname(os.path.realpath(name))), anytime=True)


def _chunks(entries: Iterator[Entry]) -> Iterator[list[tuple[str, bytes | str]]]:
    """Names with their bytes, or with the reason why there are none."""
    read = ((entry.name, _read(entry)) for entry in entries)
    while chunk := list(itertools.islice(read, CHUNK)):
        yield chunk


def _read(entry: Entry) -> bytes | str:
    try:
        return entry.read()
    except Unreadable as error:
        return str(error)


def _decoded(item: tuple[str, bytes | str], size: int) -> Array | str:
    content = item[1]
    if isinstance(content, str):
        return content
    try:
        return decode(content, size)
    except Unreadable as error:
        return str(error)


def _predicted(
    names: Sequence[str], pixels: Sequence[Array | str], bundle: Bundle, top: int, views: Collection[str]
) -> Iterator[FilePrediction]:
    images = [image for image in pixels if not isinstance(image, str)]
    rows = iter(bundle.predict(images, views))
    for name, image in zip(names, pixels, strict=True):
        label = label_of(name, bundle.classes)
        if isinstance(image, str):
            yield FilePrediction(name, label, (), (), image)
            continue
        row = next(rows)
        order = np.argsort(-row, kind="stable")[:top]
        chosen = tuple(bundle.classes[index] for index in order)
        yield FilePrediction(name, label, chosen, tuple(float(row[index]) for index in order))


def label_of(name: str, classes: Collection[str]) -> str:
    """The innermost folder of a path that is named like a class; empty where none is."""
    folders = PurePosixPath(name).parts[:-1]
    return next((folder for folder in reversed(folders) if folder in classes), "")


def predictions_csv(found: Sequence[FilePrediction], top: int) -> str:
    """One row a file; the `label` column only where some file has one."""
    labelled, top = any(one.label for one in found), max((len(one.classes) for one in found), default=top)
    ranks = [f"_{rank}" if rank > 1 else "" for rank in range(1, top + 1)]
    header = ["path", *["label"] * labelled, *(name + rank for rank in ranks for name in ("class", "probability"))]
    rows = []
    for one in found:
        pairs = [cell for pair in zip(one.classes, one.probabilities, strict=True) for cell in pair]
        rows.append([one.path, *[one.label] * labelled, *(pairs or [""] * 2 * top), one.error])
    return to_csv([*header, "error"], rows)


def submission_csv(found: Sequence[FilePrediction]) -> str:
    """`id,label` as for a competition (report 003): file name and class; no label where a file cannot be read."""
    return to_csv(("id", "label"), [(one.path.rpartition("/")[2], next(iter(one.classes), "")) for one in found])
