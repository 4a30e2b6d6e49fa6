"""Lay rows out in part files beside an index: a stored part that is one of them becomes it by a hard link."""

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from cache.errors import FileError
from cache.files import partial_name
from cache.layout import Array
from cache.parted import PartedRows, part_name, parts_folder
from cache.parts import read_part
from cache.stored_rows import GatheredRows, StoredRows
from cache.writer import iterate_blocks, write_file


@dataclass(frozen=True)
class PartFile:
    """One part file that is to be: its rows [k, ...] and their keys S64 [k]. Can be sent to another process.

    is_new: whether this run has written the stored part that holds exactly these rows, so that nobody need read it.
    """

    path: Path
    rows: GatheredRows
    keys: Array
    recipe: dict[str, Any]
    is_new: bool = False

    def place(self) -> tuple[int, int]:
        """Put the file in its place, complete or absent; return where its rows begin and how long it is.

        Every row that this run did not compute is checked. Raises FileError, StorageError.
        """
        source = self.rows.whole_file()
        if source is None or not self._is_same_part(source) or not link(source.path, self.path):
            write_file(self.path, "part", self.rows, {"keys": self.keys}, {"recipe": self.recipe})
            source = read_part(self.path, self.recipe).rows
        return source.offset, self.path.stat().st_size

    def _is_same_part(self, source: StoredRows) -> bool:
        if self.is_new:
            return True
        try:
            part = read_part(source.path, self.recipe)
        except FileError:  # rows of another kind of file: they are checked as they are read
            return False
        for _ in iterate_blocks(part.rows):  # checks their digests
            pass
        return np.array_equal(part.keys, self.keys)


def link(source: Path, target: Path) -> bool:
    """Give a file a second name, in place of what has that name; False if the disk cannot, or it is another disk."""
    if source == target:
        return True
    partial = target.with_name(partial_name(target))
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        os.link(source, partial)
        os.replace(partial, target)
    except OSError:
        return False
    finally:
        with suppress(OSError):  # a rename onto the same file leaves it
            partial.unlink(missing_ok=True)
    return True


def part_files(
    path: Path, rows: GatheredRows, keys: Array, recipe: dict[str, Any], starts: Array
) -> Iterator[PartFile]:
    """The part files of a set, in order. Their names and bytes follow from recipe, keys and rows alone.

    starts: int [p], the first row of each.
    """
    for start, end in pairwise([*starts.tolist(), len(keys)]):
        own = keys[start:end]
        positions = np.arange(start, end)
        yield PartFile(parts_folder(path) / f"{part_name(recipe, own)}.h5", rows.select(positions), own, recipe)


def placed_rows(path: Path, files: list[PartFile], placed: list[tuple[int, int]]) -> PartedRows:
    """The rows of part files that are in their places. placed: what `place` returned for each."""
    sources = []
    for file, (offset, _) in zip(files, placed, strict=True):
        rows = file.rows
        sources.append(StoredRows(file.path, offset, rows.shape, rows.dtype, rows.digests))
    sizes = np.array([size for _, size in placed], dtype=np.int64)
    return PartedRows(tuple(sources), folder=parts_folder(path), sizes=sizes)
