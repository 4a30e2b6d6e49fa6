"""Rows on disk, read on demand: those of one file, and those of several files seen as one array."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from cache.errors import DamagedFile, StorageError
from cache.layout import Array, row_digests
from cache.records import positions_of

REMAKE = "Delete it and run the stage that makes it again."


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
class GatheredRows:
    """Rows from several files seen as one array; reads only what is asked for.

    positions: int [n], of the rows of all sources laid end to end; None for all of them in order. Can be pickled.
    """

    sources: tuple[StoredRows, ...]
    positions: Array | None = None
    shape: tuple[int, ...] = field(init=False)

    def __post_init__(self) -> None:
        shapes = {source.shape[1:] for source in self.sources} or {(0,)}
        if len(shapes) > 1:
            raise DamagedFile("parts of one recipe differ in shape", found=sorted(shapes), remedy=REMAKE)
        count = int(self._starts[-1]) if self.positions is None else len(self.positions)
        object.__setattr__(self, "shape", (count, *shapes.pop()))

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of the rows."""
        return self.sources[0].dtype if self.sources else np.dtype(np.float16)

    @property
    def digests(self) -> Array:
        """uint8 [n, 32]."""
        if not self.sources:
            return np.empty((0, 32), dtype=np.uint8)
        digests = np.concatenate([source.digests for source in self.sources])
        return digests if self.positions is None else digests[self.positions]

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Any) -> Array:
        """Rows by slice or by an array of row numbers. Raises DamagedFile where a digest does not match."""
        wanted = positions_of(index, len(self))
        rows = np.empty((len(wanted), *self.shape[1:]), dtype=self.dtype)
        for source, places, numbers in self._by_source(wanted):
            rows[places] = self.sources[source][numbers]
        return rows

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return self[:] if dtype is None else self[:].astype(dtype)

    def select(self, positions: Array) -> "GatheredRows":
        """The rows at these positions, still on disk; small to send to another process."""
        order = np.empty(len(positions), dtype=np.int64)
        sources = []
        start = 0
        for source, places, numbers in self._by_source(positions):
            order[places] = np.arange(start, start + len(places))
            start += len(places)
            whole = self.sources[source]
            sources.append(whole if np.array_equal(numbers, np.arange(len(whole))) else whole.select(numbers))
        return GatheredRows(tuple(sources) or self.sources[:1], order)

    def take(self, positions: Array) -> "GatheredRows":
        """The rows at these positions, still on disk; unlike in `select`, all sources stay as they are."""
        return GatheredRows(self.sources, positions if self.positions is None else self.positions[positions])

    def whole_file(self) -> StoredRows | None:
        """The one file whose rows these are, all of them in order; None if there is none."""
        if len(self.sources) != 1 or self.sources[0].numbers is not None:
            return None
        in_order = self.positions is None or np.array_equal(self.positions, np.arange(len(self.sources[0])))
        return self.sources[0] if in_order else None

    def _by_source(self, wanted: Array) -> Iterator[tuple[int, Array, Array]]:
        """The number of each source that is needed, the places of its rows among the wanted ones, and their numbers."""
        flat = wanted if self.positions is None else self.positions[wanted]
        owner = np.searchsorted(self._starts, flat, side="right") - 1
        order = np.argsort(owner, kind="stable")
        breaks = np.flatnonzero(np.diff(owner[order])) + 1
        for places in np.split(order, breaks) if len(order) else ():
            source = int(owner[places[0]])
            yield source, places, flat[places] - self._starts[source]

    @cached_property
    def _starts(self) -> Array:
        """Where each source begins, and the end of the last one."""
        sizes = np.array([len(source) for source in self.sources], dtype=np.int64)
        return np.concatenate([[0], np.cumsum(sizes)])


def open_raw(path: Path) -> Any:
    """Open for reading bytes, with one clear line where that fails."""
    try:
        return path.open("rb")
    except FileNotFoundError as error:
        raise StorageError("no such file", where=path, remedy="Run the stage that makes it.") from error
    except OSError as error:
        raise StorageError(f"cannot read: {error.strerror}", where=path) from error
