"""Rows made from the rows of an ImageSet, kept in parts, computed only where they are missing.

augment (images from images) and featurize (features from images) are both this.
"""

import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from cache.errors import RecordError
from cache.files import check_space
from cache.lay_out import part_files
from cache.layout import Array
from cache.parts import PartStore, StoreIndex
from cache.records import ImageSet, Rows, SelectableRows
from pipeline.runtime.set_file import SetFile, place_all
from pipeline.runtime.workers import Pool


class RowFunction(Protocol):
    """uint8 images [k, h, w, 3] and their keys S64 [k] to rows [k, ...]; each row depends on its own image alone."""

    @property
    def recipe(self) -> dict[str, Any]:
        """What decides the rows besides the images, where it is asked: it names the device and the libraries."""
        ...

    def __call__(self, images: Array, keys: Array, /) -> Array: ...


@dataclass(frozen=True)
class ComputePlan:
    """How missing rows are computed: where parts go, what makes a row, how many a part, by whom.

    output: the file that all rows are for, if any; those of a large one are laid out in part files beside it.
    """

    store: PartStore
    function: RowFunction
    rows_per_task: int
    pool: Pool
    output: SetFile | None = None


@dataclass(frozen=True)
class _Part:
    """The task of computing one part; its result is how many rows it holds, and its file."""

    store: PartStore
    function: RowFunction
    images: Rows
    keys: Array

    def read(self) -> Array:
        return self.images[:]

    def compute(self, images: Array) -> Array:
        """Rows of the images. Raises RecordError on a machine whose bytes would not be those that the recipe names."""
        self._check_here()
        return self.function(images, self.keys)

    def write(self, rows: Array) -> tuple[int, Path]:
        return len(self.keys), self.store.write(self.keys, rows)

    def _check_here(self) -> None:
        here = self.function.recipe
        differing = [name for name, value in self.store.recipe.items() if here.get(name) != value]
        if differing:
            expected = self.store.recipe[differing[0]]
            actual = here.get(differing[0])
            remedy = "Give the cluster workers of one kind, and run the command on a machine like them."
            where = f"{socket.gethostname()} {differing[0]}"
            raise RecordError("worker differs", where=where, expected=expected, found=actual, remedy=remedy)


def compute_missing(
    images: ImageSet,
    keys: Array,
    plan: ComputePlan,
    known: StoreIndex | None = None,
    advance: Callable[[int], object] = lambda count: None,
) -> tuple[Rows, int]:
    """Lazy derived rows [n, ...] for keys S64 [n], and how many had to be computed.

    known holds rows found elsewhere than in the store. advance is called with the count of rows as they are ready.
    A part is computed and written once, by whoever computes it; in a large output it is linked, not copied.
    """
    index = _with_parts(plan.store, known)
    missing = index.missing(keys)
    advance(len(keys) - len(missing))
    rows_per_part = plan.output.rows_per_part(len(keys)) if plan.output else None
    chosen = _split(missing, len(keys), plan.rows_per_task, rows_per_part)
    tasks = [
        _Part(plan.store, plan.function, _rows_at(images.images, positions), keys[positions]) for positions in chosen
    ]
    new: set[Path] = set()
    for count, path in plan.pool.run(tasks):
        if not new:  # the first part tells how large all others will be
            check_space(plan.store.path, path.stat().st_size * (len(missing) - count) // count)
        new.add(path)
        advance(count)
    if len(missing):
        index = _with_parts(plan.store, known)
    rows = index.rows(keys)
    if plan.output is None or rows_per_part is None:
        return rows, len(missing)
    starts = np.arange(0, len(keys), rows_per_part)
    files = list(part_files(plan.output.path, rows, keys, plan.store.recipe, starts))
    return place_all(plan.output.path, files, new, plan.pool), len(missing)


def _split(missing: Array, count: int, rows_per_task: int, rows_per_part: int | None) -> list[Array]:
    """The missing positions by task. A part file of the output that is missing as a whole is one task if it may be."""
    parts: list[Array] = []
    if rows_per_part is not None and rows_per_part <= rows_per_task:
        owner = missing // rows_per_part
        sizes = np.diff(np.minimum(np.arange(0, count + rows_per_part, rows_per_part), count))
        whole = np.bincount(owner, minlength=len(sizes)) == sizes
        starts = np.flatnonzero(whole) * rows_per_part
        parts = [np.arange(start, min(start + rows_per_part, count)) for start in starts.tolist()]
        missing = missing[~whole[owner]]
    return parts + [missing[start : start + rows_per_task] for start in range(0, len(missing), rows_per_task)]


def _with_parts(store: PartStore, known: StoreIndex | None) -> StoreIndex:
    index = store.open()
    for keys, rows in zip(*((known.keys, known.sources) if known else ((), ())), strict=True):
        index = index.joined(keys, rows)
    return index


def _rows_at(rows: Rows, positions: Array) -> Rows:
    """Stored rows stay on disk, and drawn rows are not drawn, until the task runs."""
    return rows.select(positions) if isinstance(rows, SelectableRows) else rows[positions]
