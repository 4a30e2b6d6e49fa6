"""The file format, versions 1 to 3: one HDF5 file per set or part.

    user block   512 bytes of JSON: format, kind, version, file length, where the rows lie, seal
    /rows        [n, ...]  contiguous, in order: images or features; none in a file of kind `variant`
    /digests     [n, 32]   SHA-256 of each row (`row_digest`); none in a file of kind `variant`
    /<columns>   what `COLUMNS` names for the kind
    /meta        UTF-8 JSON, keys sorted: classes, variant, recipe and the like

Version 2 adds the kind `variant`: a variant whose rows are drawn when they are read. Version 3 adds indexes: a
large set of images or features whose rows lie in part files beside it (`cache/parted.py`). All else is version 1.

The seal is the SHA-256 of the header and of every byte outside `/rows`. It is checked before the HDF5 library
parses anything, and each row is checked against its digest when it is read, so no byte is trusted unseen.
Rows lie in one extent, so their place is known and they are read without HDF5's global lock.
Equal content gives equal bytes: no timestamps, fixed order, fixed library version bounds.
"""

import hashlib
import json
from typing import Any

import numpy as np
import numpy.typing as npt

FORMAT = "augcache"
VERSION = 3  # the newest that is read
VERSIONS = {"variant": 2}  # that a kind is written as, if not 1
INDEX_VERSION = 3  # of a set whose rows lie in part files
USER_BLOCK = 512
HDF5_BOUNDS = ("v108", "v108")
INDEX_BOUNDS = ("v110", "v110")  # virtual datasets are not older
BLOCK_BYTES = 8 << 20  # rows are read and written in blocks of about this size, so memory stays flat

PARTS_SUFFIX = ".parts"  # of the folder beside a set that holds its part files
PART_ROWS = {"images": 512, "features": 1024}  # of a part file, so that no output depends on rows_per_task
LARGE_PARTS = 64  # sets of more parts than these are cut into part files

COLUMNS: dict[str, dict[str, str]] = {
    "images": {"labels": "<i8", "ids": "|S64"},
    "features": {"labels": "<i8", "ids": "|S64"},
    "part": {"keys": "|S64"},
    "variant": {"labels": "<i8", "ids": "|S64"},
}
META: dict[str, frozenset[str]] = {
    "images": frozenset({"classes", "variant", "recipe"}),
    "features": frozenset({"classes", "variant", "recipe", "backbone"}),
    "part": frozenset({"recipe"}),
    "variant": frozenset({"classes", "variant", "recipe"}),
}
ROW_TYPES: dict[str, tuple[str, ...]] = {
    "images": ("|u1",),
    "features": ("<f2", "<f4"),
    "part": ("|u1", "<f2", "<f4"),
}

DRAWN_BY = "augment"  # the stage of recipes that decide a row completely, together with its id

Array = npt.NDArray[Any]


def row_digest(row: Array) -> bytes:
    """SHA-256 of one row's type, shape and bytes: 32 bytes, the same on every machine."""
    digest = hashlib.sha256(f"{row.dtype.str}{row.shape}".encode())
    digest.update(np.ascontiguousarray(row).data)
    return digest.digest()


def row_digests(rows: Array) -> Array:
    """Digests of rows [n, ...] as uint8 [n, 32]."""
    joined = b"".join(row_digest(row) for row in rows)
    return np.frombuffer(joined, dtype=np.uint8).reshape(len(rows), 32)


def hex_keys(digests: Array) -> Array:
    """Digests uint8 [n, 32] as hexadecimal text, dtype S64 [n]: safe in numpy, which strips trailing NULs."""
    return np.array([digest.tobytes().hex().encode() for digest in digests], dtype="S64")


def canonical(value: object) -> bytes:
    """JSON bytes that are equal when the values are: sorted keys, no spaces, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def recipe_key(recipe: dict[str, Any]) -> str:
    """A recipe's name: SHA-256 of its canonical JSON, 64 hexadecimal digits."""
    return hashlib.sha256(canonical(recipe)).hexdigest()


def derived_keys(ids: Array, recipe: dict[str, Any]) -> Array:
    """Keys S64 [n] of rows that a recipe makes from the images with these ids: SHA-256 of (recipe, id).

    They are known before the rows are, because the recipe holds all that decides the pixels except the source's.
    """
    start = hashlib.sha256(f"{recipe_key(recipe)}:".encode())
    keys = np.empty(len(ids), dtype="S64")
    for row, image_id in enumerate(ids.tolist()):
        digest = start.copy()
        digest.update(image_id)
        keys[row] = digest.hexdigest().encode()
    return keys


def rows_per_part(kind: str, count: int) -> int | None:
    """How many rows each part file of a set of so many rows has; None if it is small enough to be one plain file."""
    return PART_ROWS[kind] if count > LARGE_PARTS * PART_ROWS[kind] else None


def rows_per_block(row_shape: tuple[int, ...], dtype: Any) -> int:
    """How many rows of this shape make a block of about `BLOCK_BYTES`."""
    row_bytes = int(np.prod(row_shape, dtype=np.int64)) * np.dtype(dtype).itemsize
    return int(max(1, BLOCK_BYTES // max(1, row_bytes)))
