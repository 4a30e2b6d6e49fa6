"""Write sets and parts: rows in order into `.partial`, then fsync and `os.replace`.

A file is complete or absent: whatever kills the process, the final name never holds half a file.
"""

import errno
import hashlib
import os
import shutil
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from cache.errors import RecordError, StorageError
from cache.layout import (
    COLUMNS,
    FORMAT,
    HDF5_BOUNDS,
    USER_BLOCK,
    VERSION,
    Array,
    canonical,
    row_digests,
    rows_per_block,
)
from cache.records import FeatureSet, ImageSet, Rows

HASH_BYTES = 1 << 20


def write_images(path: Path, images: ImageSet) -> None:
    """Write an ImageSet; see `write_file` for errors."""
    meta = {"classes": list(images.classes), "variant": images.variant, "recipe": images.recipe}
    write_file(path, "images", images.images, {"labels": images.labels, "ids": images.ids}, meta)


def write_features(path: Path, features: FeatureSet) -> None:
    """Write a FeatureSet; see `write_file` for errors."""
    meta = {
        "classes": list(features.classes),
        "variant": features.variant,
        "recipe": features.recipe,
        "backbone": features.backbone,
    }
    write_file(path, "features", features.features, {"labels": features.labels, "ids": features.ids}, meta)


def write_file(path: Path, kind: str, rows: Rows, columns: Mapping[str, Array], meta: Mapping[str, Any]) -> None:
    """Write rows [n, ...] with their columns [n] and metadata as one complete file.

    Rows are read in blocks, so lazy rows of any number fit. Raises StorageError where the disk refuses.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{socket.gethostname()}.{os.getpid()}.partial")
    try:
        check_space(path.parent, needed=_expected_bytes(rows, columns))
        with h5py.File(partial, "w", userblock_size=USER_BLOCK, libver=HDF5_BOUNDS) as file:
            extent = _write_datasets(file, kind, rows, columns, meta)
        with partial.open("r+b") as raw:
            _seal(raw, kind, extent)
            os.fsync(raw.fileno())
        os.replace(partial, path)
        sync_folder(path.parent)
    except OSError as error:
        raise storage_error(path, error) from error
    finally:
        partial.unlink(missing_ok=True)


def _write_datasets(
    file: h5py.File, kind: str, rows: Rows, columns: Mapping[str, Array], meta: Mapping[str, Any]
) -> tuple[int, int]:
    """Fill the file; return the extent (offset, bytes) of the rows."""
    dataset = _create_rows(file, rows)
    digests = np.empty((len(rows), 32), dtype=np.uint8)
    for start, block in iterate_blocks(rows):
        if block.dtype.kind == "f" and not np.isfinite(block).all():
            bad = start + int(np.flatnonzero(~np.isfinite(block).reshape(len(block), -1).all(axis=1))[0])
            raise RecordError("features hold NaN or infinity", where=f"row {bad}", remedy="Check weights and input.")
        dataset[start : start + len(block)] = block
        digests[start : start + len(block)] = row_digests(block)
    file.create_dataset("digests", data=digests, track_times=False)
    for name, dtype in COLUMNS[kind].items():
        file.create_dataset(name, data=np.asarray(columns[name]).astype(dtype), track_times=False)
    file.create_dataset("meta", data=np.frombuffer(canonical(meta), dtype=np.uint8), track_times=False)
    offset = dataset.id.get_offset()
    return (0 if offset is None else int(offset), int(dataset.size) * dataset.dtype.itemsize)


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


def _seal(raw: Any, kind: str, extent: tuple[int, int]) -> None:
    """Write the user block: what the file is and the checksum of everything outside the rows."""
    size = raw.seek(0, os.SEEK_END)
    header = {"format": FORMAT, "kind": kind, "version": VERSION, "bytes": size, "rows": list(extent)}
    header["seal"] = seal_of(raw, header, size)
    raw.seek(0)
    raw.write(canonical(header).ljust(USER_BLOCK - 1) + b"\n")
    raw.flush()


def seal_of(raw: Any, header: Mapping[str, Any], size: int) -> str:
    """SHA-256 over the header without its seal and every byte of the file outside the rows and the user block."""
    digest = hashlib.sha256(canonical({key: value for key, value in header.items() if key != "seal"}))
    offset, length = header["rows"]
    for start, end in ((USER_BLOCK, offset if length else size), (offset + length if length else size, size)):
        raw.seek(start)
        left = end - start
        while left > 0 and (chunk := raw.read(min(HASH_BYTES, left))):
            digest.update(chunk)
            left -= len(chunk)
    return digest.hexdigest()


def iterate_blocks(rows: Rows) -> Iterator[tuple[int, Array]]:
    """Blocks of rows in order, each with the number of its first row."""
    step = rows_per_block(tuple(rows.shape[1:]), rows.dtype)
    for start in range(0, len(rows), step):
        yield start, np.asarray(rows[start : start + step])


def _expected_bytes(rows: Rows, columns: Mapping[str, Array]) -> int:
    per_row = int(np.prod(rows.shape[1:], dtype=np.int64)) * np.dtype(rows.dtype).itemsize + 32
    return len(rows) * per_row + sum(np.asarray(column).nbytes for column in columns.values()) + 65536


def check_space(folder: Path, needed: int) -> None:
    """Refuse before work starts when the disk under `folder` has less than `needed` bytes free."""
    existing = folder
    while not existing.exists():
        existing = existing.parent
    free = shutil.disk_usage(existing).free
    if free < needed:
        raise StorageError(
            "too little disk space",
            where=folder,
            expected=f"{needed / 2**20:,.0f} MiB free",
            found=f"{free / 2**20:,.0f} MiB",
            remedy="Free some space, or choose another disk.",
        )


def storage_error(path: Path, error: OSError) -> StorageError:
    """A StorageError with the remedy that fits the operating system's reason."""
    remedies = {
        errno.ENOSPC: "Free some space and run the same command again: finished work is kept.",
        errno.EDQUOT: "Free some space and run the same command again: finished work is kept.",
        errno.EROFS: "Choose a folder that can be written to.",
        errno.EACCES: "Choose a folder that can be written to, or change its permissions.",
        errno.ENOENT: "It went away while it was in use: run the same command again.",
    }
    reason = error.strerror or str(error)
    return StorageError(f"cannot write: {reason}", where=path, remedy=remedies.get(error.errno or 0, ""))


def sync_folder(folder: Path) -> None:
    """Make a rename in `folder` last through a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
