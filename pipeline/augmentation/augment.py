"""Augmented variants of an ImageSet, row by row, taking over what an earlier file already holds."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from cache.errors import RecordError
from cache.parts import PartStore, StoreIndex
from cache.reader import StoredRows
from cache.records import ImageSet
from pipeline.augmentation.policy import Augmentation
from pipeline.runtime.incremental import ComputePlan, compute_missing
from pipeline.runtime.workers import Pool


@dataclass(frozen=True)
class Workshop:
    """Where finished parts of a run lie until it is done, how many rows one task has, and the processes."""

    parts: Path
    rows_per_task: int
    pool: Pool


def augment(
    images: ImageSet,
    augmentation: Augmentation,
    workshop: Workshop,
    old: ImageSet | None = None,
    advance: Callable[[int], object] = lambda count: None,
) -> tuple[ImageSet, int]:
    """The augmented set with lazy rows, and how many of them had to be computed.

    Rows of `old` that the same recipe made from the same source images are taken over. Raises RecordError if ids
    are not the digests of the images.
    """
    if (images.keys() != images.ids).any():
        raise RecordError("ids are not the digests of the images", remedy="Run prepare again.")
    known = None
    if old is not None and old.recipe == augmentation.recipe and isinstance(old.images, StoredRows):
        known = StoreIndex().joined(old.ids, old.images)
    store = PartStore(workshop.parts, augmentation.recipe)
    plan = ComputePlan(store, augmentation, workshop.rows_per_task, workshop.pool)
    rows, computed = compute_missing(images, images.ids, plan, known, advance)
    augmented = replace(images, images=rows, variant=augmentation.variant, recipe=augmentation.recipe)
    return augmented, computed


def is_current(old: ImageSet, images: ImageSet, augmentation: Augmentation) -> bool:
    """Whether a file already holds exactly what would be made."""
    same_rows = np.array_equal(old.ids, images.ids) and np.array_equal(old.labels, images.labels)
    return same_rows and old.classes == images.classes and old.recipe == augmentation.recipe
