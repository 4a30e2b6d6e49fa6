"""Rows made from the rows of an ImageSet, kept in parts, computed only where they are missing.

augment (images from images) and featurize (features from images) are both this.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from cache.layout import Array
from cache.parts import PartStore, StoreIndex
from cache.reader import StoredRows
from cache.records import ImageSet, Rows
from pipeline.workers import Pool


class RowFunction(Protocol):
    """uint8 images [k, h, w, 3] and their keys S64 [k] to rows [k, ...]; each row depends on its own image alone."""

    def __call__(self, images: Array, keys: Array, /) -> Array: ...


@dataclass(frozen=True)
class Derivation:
    """How missing rows are computed: where parts go, what makes a row, how many a part, by whom."""

    store: PartStore
    function: RowFunction
    rows_per_task: int
    pool: Pool


@dataclass(frozen=True)
class _Task:
    store: PartStore
    function: RowFunction
    images: Rows
    keys: Array

    def run(self) -> int:
        """Compute one part and write it; return how many rows it holds."""
        self.store.write(self.keys, self.function(self.images[:], self.keys))
        return len(self.keys)


def _run(task: _Task) -> int:
    return task.run()


def derive(
    images: ImageSet,
    keys: Array,
    derivation: Derivation,
    known: StoreIndex | None = None,
    advance: Callable[[int], object] = lambda count: None,
) -> tuple[Rows, int]:
    """Lazy derived rows [n, ...] for keys S64 [n], and how many had to be computed.

    known holds rows found elsewhere than in the store. advance is called with the count of rows as they are ready.
    """
    index = _with_parts(derivation.store, known)
    missing = index.missing(keys)
    advance(len(keys) - len(missing))
    step = derivation.rows_per_task
    chosen = [missing[start : start + step] for start in range(0, len(missing), step)]
    tasks = [
        _Task(derivation.store, derivation.function, _rows_at(images.images, positions), keys[positions])
        for positions in chosen
    ]
    for count in derivation.pool.run(_run, tasks):
        advance(count)
    if len(missing):
        index = _with_parts(derivation.store, known)
    return index.rows(keys), len(missing)


def _with_parts(store: PartStore, known: StoreIndex | None) -> StoreIndex:
    index = store.open()
    for keys, rows in zip(*((known.keys, known.sources) if known else ((), ())), strict=True):
        index = index.joined(keys, rows)
    return index


def _rows_at(rows: Rows, positions: Array) -> Rows:
    """Stored rows stay on disk until the task runs."""
    return rows.select(positions) if isinstance(rows, StoredRows) else rows[positions]
