"""Write sets and parts: rows in order into `.partial`, then fsync and `os.replace`.

A file is complete or absent: whatever kills the process, the final name never holds half a file.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from cache.errors import RecordError
from cache.files import check_space, partial_name, storage_error, sync_folder
from cache.layout import (
    COLUMNS,
    FORMAT,
    HDF5_BOUNDS,
    INDEX_BOUNDS,
    INDEX_VERSION,
    ROW_TYPES,
    USER_BLOCK,
    VERSIONS,
    Array,
    canonical,
    row_digests,
    rows_per_block,
)
from cache.parted import PartedRows, index_table, parts_folder, remove_other_parts
from cache.records import FeatureSet, ImageSet, Rows, Variant
from cache.sealed import seal_of
from cache.steady_file import SteadyFile
from cache.stored_rows import GatheredRows


def write_images(path: Path, images: ImageSet) -> None:
    """Write an ImageSet; see `write_file` for errors."""
    meta = {"classes": list(images.classes), "variant": images.variant, "recipe": images.recipe}
    write_file(path, "images", images.images, {"labels": images.labels, "ids": images.ids}, meta)


def write_variant(path: Path, variant: Variant) -> None:
    """Write a variant without pixels; see `write_file` for errors."""
    meta = {"classes": list(variant.classes), "variant": variant.variant, "recipe": variant.recipe}
    write_file(path, "variant", None, {"labels": variant.labels, "ids": variant.ids}, meta)


def write_features(path: Path, features: FeatureSet) -> None:
    """Write a FeatureSet; see `write_file` for errors."""
    meta = {
        "classes": list(features.classes),
        "variant": features.variant,
        "recipe": features.recipe,
        "backbone": features.backbone,
    }
    write_file(path, "features", features.features, {"labels": features.labels, "ids": features.ids}, meta)


def write_file(path: Path, kind: str, rows: Rows | None, columns: Mapping[str, Array], meta: Mapping[str, Any]) -> None:
    """Write rows [n, ...] with their columns [n] and metadata as one complete file; None for a kind without rows.

    Rows that lie in part files beside this file stay there, and the file is their index. Other rows are read in blocks,
    so lazy rows of any number fit. Raises StorageError where the disk refuses, RecordError where the columns do not fit
    the rows or the kind.
    """
    _check_columns(path, kind, rows, columns)
    if isinstance(rows, PartedRows) and rows.folder != parts_folder(path):
        rows = GatheredRows(rows.sources)  # the part files are another set's
    needed = _expected_bytes(rows, columns)
    partial = path.with_name(partial_name(path))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        check_space(path.parent, needed)
        with SteadyFile(partial, "w+") as raw:
            is_index = isinstance(rows, PartedRows)
            bounds = INDEX_BOUNDS if is_index else HDF5_BOUNDS
            with h5py.File(raw, "w", userblock_size=USER_BLOCK, libver=bounds) as file:
                extent = _write_rows(file, raw, rows)
                _write_columns(file, kind, columns, meta)
            raw.check()
            _seal(raw, kind, INDEX_VERSION if is_index else VERSIONS.get(kind, 1), extent)
            os.fsync(raw.fileno())
        os.replace(partial, path)
        sync_folder(path.parent)
        remove_other_parts(path, rows)
    except OSError as error:
        raise storage_error(path, error, needed) from error
    finally:
        with suppress(OSError):  # a disk that refuses this too must not hide the reason
            partial.unlink(missing_ok=True)


def _check_columns(path: Path, kind: str, rows: Rows | None, columns: Mapping[str, Array]) -> None:
    if rows is not None and np.dtype(rows.dtype).str not in ROW_TYPES[kind]:
        expected = " or ".join(ROW_TYPES[kind])
        actual = np.dtype(rows.dtype).str
        raise RecordError("rows have the wrong type", where=path, expected=expected, found=actual)
    for name, dtype in COLUMNS[kind].items():
        column = np.asarray(columns[name])
        if rows is not None and len(column) != len(rows):
            raise RecordError(f"{name} do not fit the rows", where=path, expected=len(rows), found=len(column))
        if column.dtype.kind == "S" and column.dtype.itemsize > np.dtype(dtype).itemsize:
            actual = f"{column.dtype.itemsize} bytes"
            expected = f"at most {np.dtype(dtype).itemsize} bytes each"
            raise RecordError(f"{name} are too long", where=path, expected=expected, found=actual)


def _write_columns(file: h5py.File, kind: str, columns: Mapping[str, Array], meta: Mapping[str, Any]) -> None:
    for name, dtype in COLUMNS[kind].items():
        file.create_dataset(name, data=np.asarray(columns[name]).astype(dtype), track_times=False)
    file.create_dataset("meta", data=np.frombuffer(canonical(meta), dtype=np.uint8), track_times=False)


def _write_rows(file: h5py.File, raw: SteadyFile, rows: Rows | None) -> tuple[int, int]:
    """Write the rows, or where they lie, and their digests; return the extent (offset, bytes) of rows in this file."""
    if rows is None:
        return 0, 0
    if isinstance(rows, PartedRows):
        sync_folder(rows.folder)
        _create_virtual_rows(file, rows)
        for name, column in index_table(rows).items():
            file.create_dataset(name, data=column, track_times=False)
        return 0, 0
    return _write_plain_rows(file, raw, rows)


def _write_plain_rows(file: h5py.File, raw: SteadyFile, rows: Rows) -> tuple[int, int]:
    dataset = _create_rows(file, rows)
    offset = int(dataset.id.get_offset() or 0)  # none where there are no rows
    digests = np.empty((len(rows), 32), dtype=np.uint8)
    for start, block in iterate_blocks(rows):
        if block.dtype.kind == "f" and not np.isfinite(block).all():
            bad = start + int(np.flatnonzero(~np.isfinite(block).reshape(len(block), -1).all(axis=1))[0])
            raise RecordError("features hold NaN or infinity", where=f"row {bad}", remedy="Check weights and input.")
        raw.seek(offset + start * block[:1].nbytes)  # HDF5 has taken the room; it need not see the rows
        raw.write(np.ascontiguousarray(block, dtype=dataset.dtype).reshape(-1).view(np.uint8))
        raw.check()
        digests[start : start + len(block)] = row_digests(block)
    file.create_dataset("digests", data=digests, track_times=False)
    return offset, int(dataset.size) * dataset.dtype.itemsize


def _create_rows(file: h5py.File, rows: Rows) -> h5py.Dataset:
    """A contiguous dataset with its space taken at once and never filled twice."""
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_layout(h5py.h5d.CONTIGUOUS)
    properties.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    properties.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    properties.set_obj_track_times(False)
    space = h5py.h5s.create_simple(tuple(rows.shape))
    kind = h5py.h5t.py_create(np.dtype(rows.dtype))
    return h5py.Dataset(h5py.h5d.create(file.id, b"rows", kind, space, dcpl=properties))


def _create_virtual_rows(file: h5py.File, rows: PartedRows) -> None:
    """A dataset that shows other programs the rows of all part files as one array."""
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_obj_track_times(False)
    start = 0
    for source in rows.sources:
        here = h5py.h5s.create_simple(rows.shape)
        here.select_hyperslab((start, *(0 for _ in rows.shape[1:])), source.shape)
        name = f"{rows.folder.name}/{source.path.name}"
        properties.set_virtual(here, name.encode(), b"rows", h5py.h5s.create_simple(source.shape))
        start += len(source)
    space = h5py.h5s.create_simple(rows.shape)
    h5py.h5d.create(file.id, b"rows", h5py.h5t.py_create(rows.dtype), space, dcpl=properties)


def _seal(raw: SteadyFile, kind: str, version: int, extent: tuple[int, int]) -> None:
    """Write the user block: what the file is and the checksum of everything outside the rows."""
    size = raw.seek(0, os.SEEK_END)
    header = {"format": FORMAT, "kind": kind, "version": version, "bytes": size, "rows": list(extent)}
    header["seal"] = seal_of(raw, header, size)
    raw.seek(0)
    raw.write(canonical(header).ljust(USER_BLOCK - 1) + b"\n")
    raw.check()


def iterate_blocks(rows: Rows) -> Iterator[tuple[int, Array]]:
    """Blocks of rows in order, each with the number of its first row."""
    step = rows_per_block(tuple(rows.shape[1:]), rows.dtype)
    for start in range(0, len(rows), step):
        yield start, np.asarray(rows[start : start + step])


def _expected_bytes(rows: Rows | None, columns: Mapping[str, Array]) -> int:
    beside = sum(np.asarray(column).nbytes for column in columns.values()) + 65536
    if rows is None:
        return beside
    if isinstance(rows, PartedRows):
        return beside + len(rows) * 32
    per_row = int(np.prod(rows.shape[1:], dtype=np.int64)) * np.dtype(rows.dtype).itemsize + 32
    return len(rows) * per_row + beside
