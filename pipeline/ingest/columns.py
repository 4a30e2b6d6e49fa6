"""Images in the columns of a Hugging Face data set: parquet files, and the arrow files of `save_to_disk`."""

import json
from collections.abc import Iterator
from functools import partial
from importlib.util import find_spec
from typing import Any

from pipeline.ingest.entries import Entry, Unreadable, first_bytes
from pipeline.ingest.names import printable
from pipeline.ingest.split_words import UNLABELLED, WORDS, split_word

IMAGES = ("image", "img", "images")
LABELS = ("label", "fine_label", "labels", "class", "target")
EXTRA = 'pip install -e ".[datasets]"'
ROWS = 256  # that are held at once


def can_read() -> bool:
    """Whether the library that reads them is installed."""
    return find_spec("pyarrow") is not None


def images_in_columns(entry: Entry) -> Iterator[Entry]:
    """An entry per row; the file itself, which is passed over, if it has no images with labels."""
    if not can_read():
        yield entry
        return
    batches = _batches(entry)
    first = next(batches, None)
    columns = None if first is None else _columns(first.schema)
    if columns is None:
        yield entry
        return
    image, label, names = columns
    split = _split_of(entry.name)
    stem = entry.name.rpartition("/")[2].rpartition(".")[0]
    number = 0
    while first is not None:
        for cell, value in zip(first.column(image), first.column(label), strict=True):
            name = _label_of(value.as_py(), names)
            folder = "/".join(filter(None, [split, name] if name else [UNLABELLED]))
            yield Entry(f"{folder}/{stem}-{number:06d}.png", partial(_read, cell))
            number += 1
        first = next(batches, None)


def _batches(entry: Entry) -> Iterator[Any]:
    """Record batches of a file, from the disk if it lies there, else from its bytes."""
    import pyarrow as pa
    from pyarrow import ipc, parquet

    try:
        source = pa.memory_map(entry.path) if entry.path else pa.BufferReader(entry.read())
        if entry.name.endswith(".parquet"):
            yield from parquet.ParquetFile(source).iter_batches(ROWS)
        else:
            yield from ipc.open_stream(source)
    except (pa.ArrowInvalid, OSError):
        return


def _columns(schema: Any) -> tuple[str, str, list[str]] | None:
    """The columns of images and labels, and the labels' names if they are numbers; None if there are none."""
    described = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
    features = described.get("info", {}).get("features", {})
    kinds = {name: feature.get("_type") for name, feature in features.items() if isinstance(feature, dict)}
    image = _first(schema.names, [name for name, kind in kinds.items() if kind == "Image"], IMAGES)
    label = _first(schema.names, [name for name, kind in kinds.items() if kind == "ClassLabel"], LABELS)
    if image is None or label is None:
        return None
    feature = features.get(label)
    return image, label, list(feature.get("names") or []) if isinstance(feature, dict) else []


def _first(columns: list[str], described: list[str], usual: tuple[str, ...]) -> str | None:
    return next((name for name in (*described, *usual) if name in columns), None)


def _label_of(value: Any, names: list[str]) -> str:
    """Empty for an image without a label, which is null or a negative number."""
    if value is None or (isinstance(value, int) and value < 0):
        return ""
    text = names[value] if names and isinstance(value, int) and value < len(names) else str(value)
    return printable(" ".join(text.split())).replace("/", "-").lstrip(".")


def _split_of(name: str) -> str:
    """The split that a file is named after, or that one of its folders is; empty if none is."""
    for part in reversed(name.split("/")):
        word = split_word(part.rpartition(".")[0] or part)[0]
        if word:
            return "val" if WORDS[word] == "val" else WORDS[word]
    return ""


def _read(cell: Any, most: int | None = None) -> bytes:
    value = cell.as_py()
    content = value.get("bytes") if isinstance(value, dict) else value
    if not isinstance(content, bytes):
        raise Unreadable("has no bytes in its file; the data set only names another file")
    return first_bytes(content, most)
