"""Rows of a variant that are drawn whenever they are read, from the prepared images and the variant's recipe.

A drawn row is the same, bit for bit, whoever draws it and however often. Where only identity is asked for, nothing is
drawn, and neither imgaug nor OpenCV is imported.
"""

import json
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from cache.errors import RecordError
from cache.layout import Array, canonical, rows_per_block
from cache.records import ImageSet, Rows, SelectableRows, Variant, positions_of
from pipeline.runtime.processes import run_in_processes
from pipeline.runtime.task import is_worker
from pipeline.runtime.threads import usable_threads

if TYPE_CHECKING:
    from pipeline.augmentation.policy import Augmentation

THREADED_SIZE = 128  # pixels: two threads draw 0.8 times as fast as one at 64 px, 1.2 at 128, 1.6 at 224 (measured)
WORTH_PROCESSES = 512  # rows that imgaug draws in more time than processes take to start
SMALLEST = 16  # rows that are drawn together at least
REMEDY = "Run augment here."


@dataclass(frozen=True)
class DrawnRows:
    """Rows uint8 [n, size, size, 3], drawn block by block when they are read. Can be pickled.

    source: the images that they are drawn from, row by row. ids: S64 [n], of these images.
    """

    source: Rows
    ids: Array
    recipe: dict[str, Any]

    @property
    def shape(self) -> tuple[int, ...]:
        """[n, size, size, 3]."""
        size = int(self.recipe["size"])
        return (len(self.ids), size, size, 3)

    @property
    def dtype(self) -> np.dtype[Any]:
        """uint8."""
        return np.dtype(np.uint8)

    def __len__(self) -> int:
        return len(self.ids)

    def select(self, positions: Array) -> "DrawnRows":
        """The rows at these positions, still to be drawn; small to send to another process."""
        source = self.source.select(positions) if isinstance(self.source, SelectableRows) else self.source[positions]
        return replace(self, source=source, ids=self.ids[positions])

    def __getitem__(self, index: Any) -> Array:
        """Rows by slice or by an array of row numbers. Raises RecordError if they would be others on this machine."""
        positions = positions_of(index, len(self))
        rows = np.empty((len(positions), *self.shape[1:]), dtype=np.uint8)
        at = 0
        for block in _draw(self.select(positions), restore_augmentation(canonical(self.recipe))):
            rows[at : at + len(block)] = block
            at += len(block)
        return rows

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return self[:] if dtype is None else self[:].astype(dtype)


@dataclass(frozen=True)
class _Block:
    """The task of drawing some rows; its result is the rows."""

    rows: DrawnRows
    augmentation: "Augmentation"

    def read(self) -> Array:
        return np.asarray(self.rows.source[:])

    def compute(self, images: Array) -> Array:
        return self.augmentation(images, self.rows.ids)

    def write(self, rows: Array) -> Array:
        return rows

    def run(self) -> Array:
        return self.write(self.compute(self.read()))


@dataclass(frozen=True)
class _Numbered(_Block):
    """A block that says which it is, because processes give results in any order."""

    number: int

    def write(self, rows: Array) -> Any:
        return self.number, rows


def draw_lazily(variant: Variant, prepared: ImageSet) -> ImageSet:
    """The variant as images that are drawn from the prepared ones when they are read.

    Raises RecordError if it is of other images than the prepared ones.
    """
    if not np.array_equal(variant.ids, prepared.ids):
        what = "the variant is of other images than the prepared ones"
        raise RecordError(what, where=variant.variant, remedy="Run augment again.")
    rows = DrawnRows(prepared.images, prepared.ids, variant.recipe)
    return ImageSet(rows, variant.labels, variant.ids, variant.classes, variant.variant, variant.recipe)


@cache
def restore_augmentation(recipe_json: bytes) -> "Augmentation":
    """The augmentation of a recipe's canonical JSON. Raises RecordError if this machine would draw other pixels."""
    recipe = json.loads(recipe_json)
    names = ("variant", "policy", "size", "seed", "engine")
    if not all(name in recipe for name in names):
        raise RecordError("the recipe of a variant is incomplete", expected=", ".join(names), remedy=REMEDY)
    try:
        from pipeline.augmentation.policy import Augmentation

        augmentation = Augmentation(*(recipe[name] for name in names))
        here = augmentation.recipe
    except ModuleNotFoundError as error:  # a machine that only trains may lack OpenCV or imgaug
        remedy = "Install it, or set augment.keep to pixels where augment runs."
        what = f"rows are drawn as they are read, which takes a library that is missing: {error}"
        raise RecordError(what, where=recipe["variant"], remedy=remedy) from error
    differing = [name for name in sorted({*here, *recipe}) if here.get(name) != recipe.get(name)]
    if differing:
        what = "this machine or code would draw other pixels than the variant says"
        where = f"{recipe['variant']} {differing[0]}"
        expected = recipe.get(differing[0])
        actual = here.get(differing[0])
        raise RecordError(what, where=where, expected=expected, found=actual, remedy=REMEDY)
    return augmentation


def _draw(rows: DrawnRows, augmentation: "Augmentation") -> Iterator[Array]:
    """Blocks of rows in order.

    By threads if the engine has no state and lets go of the interpreter for long enough. imgaug does neither: it draws
    here, or in processes if that pays, or if torch's global generator is used, which the main thread may train with.
    """
    cores = 1 if is_worker() else usable_threads()
    blocks = _blocks(rows, augmentation, cores)
    is_fused = augmentation.engine == "fused"
    many = cores > 1 and len(rows) >= WORTH_PROCESSES
    disturbing = "AutoAugment" in augmentation.steps and threading.current_thread() is not threading.main_thread()
    if is_fused and augmentation.size >= THREADED_SIZE:
        with ThreadPoolExecutor(cores) as threads:
            yield from threads.map(_Block.run, blocks)
    elif is_fused or is_worker() or not (many or disturbing):
        yield from map(_Block.run, blocks)
    else:
        yield from _in_processes(blocks, augmentation, cores)


def _in_processes(blocks: Sequence[_Block], augmentation: "Augmentation", cores: int) -> Iterator[Array]:
    numbered = [_Numbered(block.rows, augmentation, number) for number, block in enumerate(blocks)]
    waiting: dict[int, Array] = {}
    following = 0
    for number, drawn in run_in_processes(numbered, cores):
        waiting[number] = drawn
        while following in waiting:
            yield waiting.pop(following)
            following += 1


def _blocks(rows: DrawnRows, augmentation: "Augmentation", cores: int) -> list[_Block]:
    step = min(rows_per_block(rows.shape[1:], np.uint8), max(SMALLEST, -(-len(rows) // cores)))
    starts = range(0, len(rows), step)
    return [_Block(rows.select(np.arange(at, min(at + step, len(rows)))), augmentation) for at in starts]
