"""Sets that lie in part files behind one index: `<name>.h5` beside the folder `<name>.parts`, format version 3.

The index holds identity, digests and metadata of all rows as a plain file does, and instead of the rows where they
lie: `/part_names`, `/part_rows`, `/part_offsets`, `/part_bytes`. Its `/rows` is HDF5's virtual dataset over the parts,
for other programs; this project reads the part files, and checks each row against the index's own digest.
"""

import hashlib
import os
import re
import shutil
from collections.abc import Mapping, Set
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from cache.errors import DamagedFile, ForeignFile, StorageError
from cache.files import remove_others, storage_error, sync_folder
from cache.layout import PARTS_SUFFIX, Array, recipe_key
from cache.stored_rows import REMAKE, GatheredRows, StoredRows

PART_NAME = re.compile(r"[0-9a-f]{64}")
TABLE = {"part_names": "|S64", "part_rows": "<i8", "part_offsets": "<i8", "part_bytes": "<i8"}


@dataclass(frozen=True)
class PartedRows(GatheredRows):
    """All rows of a set, in part files beside its index: part after part, one source for each.

    folder: of the part files. sizes: int [p], bytes of each file.
    """

    folder: Path = field(kw_only=True)
    sizes: Array = field(kw_only=True)


def parts_folder(path: Path) -> Path:
    """Where the part files of a set lie, if it has any."""
    return path.with_suffix(PARTS_SUFFIX)


def part_name(recipe: dict[str, Any], keys: Array) -> str:
    """The name of a part file in a set's folder: another recipe or other rows have another name."""
    return hashlib.sha256(b":".join([recipe_key(recipe).encode(), *keys.tolist()])).hexdigest()


def index_table(rows: PartedRows) -> dict[str, Array]:
    """Where the rows lie, part by part, and the digest of each row: what an index holds instead of the rows."""
    columns = {
        "part_names": np.array([source.path.stem for source in rows.sources]),
        "part_rows": np.array([len(source) for source in rows.sources]),
        "part_offsets": np.array([source.offset for source in rows.sources]),
        "part_bytes": rows.sizes,
    }
    return {**{name: columns[name].astype(dtype) for name, dtype in TABLE.items()}, "digests": rows.digests}


def read_index_rows(path: Path, file: Mapping[str, Any]) -> PartedRows:
    """The rows of an index whose seal holds. Raises FileError if a part file is missing or not as long as it was."""
    if not set(TABLE) <= set(file):
        raise ForeignFile("the index of its parts is incomplete", where=path, remedy=REMAKE)
    shape = tuple(int(size) for size in file["rows"].shape)
    dtype = file["rows"].dtype
    digests = file["digests"][...]
    columns = {name: file[name][...] for name in TABLE}
    names = [name.decode() for name in columns["part_names"].tolist()]
    counts = columns["part_rows"]
    if len(counts) != len(names) or counts.sum() != shape[0] or not all(map(PART_NAME.fullmatch, names)):
        raise ForeignFile("the list of its parts is not plausible", where=path, remedy=REMAKE)
    folder = parts_folder(path)
    ends = np.cumsum(counts).tolist()
    sources = []
    for name, count, end, offset in zip(names, counts.tolist(), ends, columns["part_offsets"].tolist(), strict=True):
        own = digests[end - count : end]
        sources.append(StoredRows(folder / f"{name}.h5", offset, (count, *shape[1:]), dtype, own))
    for source, size in zip(sources, columns["part_bytes"].tolist(), strict=True):
        _check_part(path, source.path, size)
    return PartedRows(tuple(sources), folder=folder, sizes=columns["part_bytes"])


def _check_part(index: Path, part: Path, size: int) -> None:
    remedy = f"Delete {index} and run the stage that makes it again."
    try:
        actual = part.stat().st_size
    except FileNotFoundError as error:
        raise DamagedFile("a part file is missing", where=part, remedy=remedy) from error
    except OSError as error:
        raise StorageError(f"cannot read: {error.strerror}", where=part) from error
    if actual != size:
        raise DamagedFile("wrong length", where=part, expected=f"{size:,} bytes", found=f"{actual:,}", remedy=remedy)


def move_set(path: Path, target: Path) -> None:
    """Move a set with its part files on one disk; a set that is there stays whole until this one takes its place."""
    folder = parts_folder(target)
    moved = set()
    for part in sorted(parts_folder(path).glob("*.h5")):
        folder.mkdir(exist_ok=True)
        os.replace(part, folder / part.name)
        moved.add(folder / part.name)
    if moved:
        sync_folder(folder)
    os.replace(path, target)
    sync_folder(target.parent)
    _remove_all_but(folder, moved)


def remove_other_parts(path: Path, rows: object) -> None:
    """Remove what lies in the part folder of a set but is not among its rows; its file must be complete."""
    wanted = {source.path for source in rows.sources} if isinstance(rows, PartedRows) else set()
    _remove_all_but(parts_folder(path), wanted)


def _remove_all_but(folder: Path, wanted: Set[Path]) -> None:
    try:
        for part in folder.glob("*"):
            if part not in wanted:
                part.unlink(missing_ok=True)
    except OSError as error:
        raise storage_error(folder, error) from error
    with suppress(OSError):  # it holds parts, or is not there
        folder.rmdir()


def remove_other_sets(folder: Path, wanted: set[Path]) -> None:
    """Remove sets that are no longer wanted, which would still feed whatever reads the folder, and parts of no set."""
    remove_others(folder, wanted)
    for parts in folder.glob(f"*{PARTS_SUFFIX}"):
        if parts.name != PARTS_SUFFIX and not parts.with_suffix(".h5").exists():
            shutil.rmtree(parts, ignore_errors=True)
