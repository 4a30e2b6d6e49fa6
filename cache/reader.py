"""Read sets and parts, trusting nothing: the seal before the HDF5 library parses, each row's digest as it is read."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py

from cache.errors import DamagedFile, ForeignFile, NewerFile, RecordError
from cache.layout import COLUMNS, FORMAT, INDEX_VERSION, META, ROW_TYPES, USER_BLOCK, VERSION, Array
from cache.parted import PartedRows, read_index_rows, remove_other_parts, remove_other_sets
from cache.records import FeatureSet, ImageSet, Variant
from cache.sealed import seal_of
from cache.stored_rows import REMAKE, StoredRows, open_raw

PIXELS = "Set augment.keep to pixels and run augment, or read it by pipeline.augmentation.drawn.draw_lazily."
HEADER_KEYS = {"format", "kind", "version", "bytes", "rows", "seal"}


@dataclass(frozen=True)
class StoredFile:
    """An opened file whose seal holds: lazy rows, columns in memory, metadata."""

    rows: StoredRows | PartedRows
    columns: dict[str, Array]
    meta: dict[str, Any]


def read_images(path: Path | str) -> ImageSet:
    """An ImageSet with lazy rows: `.images[:]` reads them. Raises FileError or RecordError."""
    path = Path(path)
    rows, columns, meta = _opened(path, "images")
    identity = columns["labels"], columns["ids"], tuple(meta["classes"]), meta["variant"]
    with _naming(path):
        return ImageSet(rows, *identity, meta["recipe"])


def read_set(path: Path | str) -> ImageSet | Variant:
    """An ImageSet with lazy rows, or a variant without pixels. Raises FileError or RecordError."""
    path = Path(path)
    if read_kind(path) != "variant":
        return read_images(path)
    with h5py.File(path, "r") as file:
        columns, meta = _columns_and_meta(path, file, "variant")
    with _naming(path):
        return Variant(columns["labels"], columns["ids"], tuple(meta["classes"]), meta["variant"], meta["recipe"])


def keep_sets(folder: Path, wanted: set[Path]) -> dict[Path, ImageSet | Variant]:
    """Those of these sets that there are; other sets in the folder are removed, and part files that no set lists.

    Raises FileError or RecordError.
    """
    remove_other_sets(folder, wanted)
    sets = {path: read_set(path) for path in sorted(wanted) if path.exists()}
    for path, stored in sets.items():
        remove_other_parts(path, stored.images if isinstance(stored, ImageSet) else None)
    return sets


def read_features(path: Path | str) -> FeatureSet:
    """A FeatureSet with lazy rows: `.features[:]` reads them. Raises FileError or RecordError."""
    path = Path(path)
    rows, columns, meta = _opened(path, "features")
    identity = columns["labels"], columns["ids"], tuple(meta["classes"]), meta["variant"]
    with _naming(path):
        return FeatureSet(rows, *identity, meta["backbone"], meta["recipe"])


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Say which file holds columns that do not belong together."""
    try:
        yield
    except RecordError as error:
        raise RecordError(str(error), where=path, remedy=REMAKE) from error


def _opened(path: Path, kind: str) -> tuple[StoredRows | PartedRows, dict[str, Array], dict[str, Any]]:
    stored = read_file(path, kind)
    return stored.rows, stored.columns, stored.meta


def read_file(path: Path, kind: str) -> StoredFile:
    """Open a file of this kind. Raises ForeignFile, NewerFile or DamagedFile with the remedy."""
    with open_raw(path) as raw:
        header = _checked_header(path, raw)
    _check_kind(path, header, kind)
    with h5py.File(path, "r") as file:
        columns, meta = _columns_and_meta(path, file, kind)
        is_index = header["version"] == INDEX_VERSION
        rows = read_index_rows(path, file) if is_index else _plain_rows(path, file, header["rows"][0])
    if rows.dtype.str not in ROW_TYPES[kind]:
        raise ForeignFile(
            "rows have the wrong type", where=path, expected=" or ".join(ROW_TYPES[kind]), found=rows.dtype.str
        )
    return StoredFile(rows, columns, meta)


def _plain_rows(path: Path, file: h5py.File, offset: int) -> StoredRows:
    dataset = file["rows"]
    shape = tuple(int(size) for size in dataset.shape)
    return StoredRows(path, offset, shape, dataset.dtype, file["digests"][...])


def _check_kind(path: Path, header: dict[str, Any], kind: str) -> None:
    if header["kind"] != kind:
        remedy = PIXELS if (kind, header["kind"]) == ("images", "variant") else ""
        raise ForeignFile(
            "wrong kind of file", where=path, expected=repr(kind), found=repr(header["kind"]), remedy=remedy
        )


def _columns_and_meta(path: Path, file: h5py.File, kind: str) -> tuple[dict[str, Array], dict[str, Any]]:
    columns = {name: file[name][...] for name in COLUMNS[kind]}
    meta = json.loads(file["meta"][...].tobytes())
    lacking = META[kind] - set(meta)
    if lacking:
        raise ForeignFile("metadata is incomplete", where=path, expected=", ".join(sorted(lacking)), remedy=REMAKE)
    return columns, meta


def read_kind(path: Path) -> str:
    """What kind of set a file holds, its seal checked."""
    with open_raw(path) as raw:
        return str(_checked_header(path, raw)["kind"])


def _checked_header(path: Path, raw: Any) -> dict[str, Any]:
    size = raw.seek(0, os.SEEK_END)
    raw.seek(0)
    try:
        header = json.loads(raw.read(USER_BLOCK))
    except (ValueError, RecursionError):
        header = None
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise ForeignFile("not an augcache file, or its first bytes are damaged", where=path, remedy=REMAKE)
    if not isinstance(header.get("version"), int) or header["version"] > VERSION:
        actual = f"version {header.get('version')}"
        remedy = "Update augcache, or make the file again."
        raise NewerFile(
            "format is newer than this code", where=path, expected=f"version {VERSION}", found=actual, remedy=remedy
        )
    if header.get("bytes") != size:
        actual = f"{size:,} bytes"
        raise DamagedFile(
            "wrong length", where=path, expected=f"{header.get('bytes')} bytes", found=actual, remedy=REMAKE
        )
    if not _plausible(header, size) or seal_of(raw, header, size) != header["seal"]:
        raise DamagedFile("checksum does not match", where=path, remedy=REMAKE)
    return header


def _plausible(header: dict[str, Any], size: int) -> bool:
    """Whether the header's fields can be used at all; the seal decides whether they are right."""
    extent = header.get("rows")
    if set(header) != HEADER_KEYS or str(header["kind"]) not in COLUMNS:
        return False
    if not isinstance(extent, list) or len(extent) != 2:
        return False
    whole = all(type(part) is int and part >= 0 for part in extent)
    return whole and sum(extent) <= size
