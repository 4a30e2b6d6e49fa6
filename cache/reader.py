"""Read sets and parts, trusting nothing: the seal before the HDF5 library parses, each row's digest as it is read."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from cache.errors import DamagedFile, ForeignFile, NewerFile, RecordError, StorageError
from cache.layout import COLUMNS, FORMAT, META, ROW_TYPES, USER_BLOCK, VERSION, Array, row_digests
from cache.records import FeatureSet, ImageSet, Variant, positions_of
from cache.sealed import seal_of

REMAKE = "Delete it and run the stage that makes it again."
PIXELS = "Set augment.keep to pixels and run augment, or read it by pipeline.augmentation.drawn.draw_lazily."
HEADER_KEYS = {"format", "kind", "version", "bytes", "rows", "seal"}


@dataclass(frozen=True)
class StoredRows:
    """Rows [n, ...] of a file, read on demand and checked against their digests.

    Holds no open handle, so it can be pickled to another process.
    """

    path: Path
    offset: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    digests: Array  # uint8 [n, 32]
    numbers: Array | None = None  # int [n], which rows of the file, where these are not all of them

    def select(self, positions: Array) -> "StoredRows":
        """The rows at these positions, still on disk; small to send to another process."""
        numbers = positions if self.numbers is None else self.numbers[positions]
        shape = (len(positions), *self.shape[1:])
        return replace(self, shape=shape, digests=self.digests[positions], numbers=numbers)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Any) -> Array:
        """Rows by slice or by an array of row numbers. Raises DamagedFile where a digest does not match."""
        positions = positions_of(index, len(self))
        numbers = positions if self.numbers is None else self.numbers[positions]
        rows = self._read(numbers)
        wrong = np.flatnonzero((row_digests(rows) != self.digests[positions]).any(axis=1))
        if len(wrong):
            number = int(numbers[wrong[0]])
            raise DamagedFile("row does not match its checksum", where=f"{self.path} row {number}", remedy=REMAKE)
        if rows.dtype.kind == "f" and not np.isfinite(rows).all():
            raise DamagedFile("features hold NaN or infinity", where=self.path, remedy=REMAKE)
        return rows

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return self[:] if dtype is None else self[:].astype(dtype)

    def _read(self, numbers: Array) -> Array:
        """Read runs of neighbouring rows, one system call each."""
        rows = np.empty((len(numbers), *self.shape[1:]), dtype=self.dtype)
        row_bytes = rows[:1].nbytes if len(rows) else 0
        breaks = np.flatnonzero(np.diff(numbers) != 1) + 1
        with open_raw(self.path) as raw:
            for begin, end in zip([0, *breaks], [*breaks, len(numbers)], strict=True):
                if begin == end:
                    continue
                raw.seek(self.offset + int(numbers[begin]) * row_bytes)
                if raw.readinto(rows[begin:end].view(np.uint8).reshape(-1).data) != (end - begin) * row_bytes:
                    raise DamagedFile("file is shorter than when it was opened", where=self.path, remedy=REMAKE)
        return rows


@dataclass(frozen=True)
class StoredFile:
    """An opened file whose seal holds: lazy rows, columns in memory, metadata."""

    rows: StoredRows
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


def _opened(path: Path, kind: str) -> tuple[StoredRows, dict[str, Array], dict[str, Any]]:
    stored = read_file(path, kind)
    return stored.rows, stored.columns, stored.meta


def read_file(path: Path, kind: str) -> StoredFile:
    """Open a file of this kind. Raises ForeignFile, NewerFile or DamagedFile with the remedy."""
    with open_raw(path) as raw:
        header = _checked_header(path, raw)
    _check_kind(path, header, kind)
    with h5py.File(path, "r") as file:
        dataset = file["rows"]
        digests = file["digests"][...]
        columns, meta = _columns_and_meta(path, file, kind)
        shape = tuple(int(size) for size in dataset.shape)
        dtype = dataset.dtype
    if dtype.str not in ROW_TYPES[kind]:
        raise ForeignFile(
            "rows have the wrong type", where=path, expected=" or ".join(ROW_TYPES[kind]), found=dtype.str
        )
    return StoredFile(StoredRows(path, header["rows"][0], shape, dtype, digests), columns, meta)


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


def open_raw(path: Path) -> Any:
    """Open for reading bytes, with one clear line where that fails."""
    try:
        return path.open("rb")
    except FileNotFoundError as error:
        raise StorageError("no such file", where=path, remedy="Run the stage that makes it.") from error
    except OSError as error:
        raise StorageError(f"cannot read: {error.strerror}", where=path) from error
