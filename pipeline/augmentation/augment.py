"""Augmented variants of an ImageSet, row by row, taking over what an earlier file already holds."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from cache.errors import RecordError
from cache.layout import rows_per_part
from cache.parted import PartedRows
from cache.parts import PartStore, StoreIndex
from cache.records import ImageSet, Variant
from cache.stored_rows import StoredRows
from pipeline.augmentation.keep import Keep
from pipeline.augmentation.policy import Augmentation
from pipeline.runtime.incremental import ComputePlan, compute_missing
from pipeline.runtime.set_file import SetFile
from pipeline.runtime.workers import Pool


@dataclass(frozen=True)
class Workshop:
    """Where finished parts of a run lie until it is done, how many rows one task has, and the processes."""

    parts: Path
    rows_per_task: int
    pool: Pool
    output: Path | None = None  # the set that is made


def augment(
    images: ImageSet,
    augmentation: Augmentation,
    workshop: Workshop,
    old: ImageSet | Variant | None = None,
    advance: Callable[[int], object] = lambda count: None,
) -> tuple[ImageSet, int]:
    """The augmented set with lazy rows, and how many of them had to be computed.

    Rows of `old` that the same recipe made from the same source images are taken over. Raises RecordError if ids
    are not the digests of the images.
    """
    _check_ids(images)
    known = _index_of(old) if isinstance(old, ImageSet) and old.recipe == augmentation.recipe else None
    store = PartStore(workshop.parts, augmentation.recipe)
    output = SetFile(workshop.output, "images") if workshop.output else None
    plan = ComputePlan(store, augmentation, workshop.rows_per_task, workshop.pool, output)
    rows, computed = compute_missing(images, images.ids, plan, known, advance)
    augmented = replace(images, images=rows, variant=augmentation.variant, recipe=augmentation.recipe)
    return augmented, computed


def _index_of(images: ImageSet) -> StoreIndex:
    """The rows of a stored set, by id."""
    if isinstance(images.images, StoredRows):
        return StoreIndex((images.ids,), (images.images,))
    index = StoreIndex()
    start = 0
    for part in images.images.sources if isinstance(images.images, PartedRows) else ():
        index = index.joined(images.ids[start : start + len(part)], part)
        start += len(part)
    return index


IDENTITY_BYTES = 8 + 64 + 32  # of a row: label, id and digest


def without_pixels(images: ImageSet, augmentation: Augmentation) -> Variant:
    """The augmented set by identity and recipe alone. Raises RecordError if ids are not the digests of the images."""
    _check_ids(images)
    return Variant(images.labels, images.ids, images.classes, augmentation.variant, augmentation.recipe)


def _check_ids(images: ImageSet) -> None:
    if (images.keys() != images.ids).any():
        raise RecordError("ids are not the digests of the images", remedy="Run prepare again.")


@dataclass(frozen=True)
class Output:
    """A file to be made: from which images, and how."""

    path: Path
    images: ImageSet
    augmentation: Augmentation

    def is_current(self, old: ImageSet | Variant | None, keep: Keep) -> bool:
        """Whether the old file says exactly what would be made; `auto` also leaves pixels that need not be kept."""
        if old is None or old.recipe != self.augmentation.recipe or old.classes != self.images.classes:
            return False
        has_pixels = isinstance(old, ImageSet)
        as_wanted = has_pixels == (keep.choice == "pixels") or (has_pixels and keep.is_auto)
        same_rows = np.array_equal(old.ids, self.images.ids) and np.array_equal(old.labels, self.images.labels)
        return as_wanted and same_rows


def make_outputs(folder: Path, splits: Mapping[str, ImageSet], augmentations: Sequence[Augmentation]) -> list[Output]:
    """Every variant of every split, `<split>-<variant>.h5` in the folder."""
    return [
        Output(folder / f"{split}-{augmentation.variant}.h5", images, augmentation)
        for split, images in splits.items()
        for augmentation in augmentations
    ]


def space_for(outputs: Sequence[Output], keep: Keep) -> int:
    """Bytes that these sets take on disk; the pixels of a plain file lie beside it in parts until it is complete."""
    identity = sum(len(output.images) for output in outputs) * IDENTITY_BYTES
    if keep.choice == "nothing":
        return identity
    pixels = {output.path: len(output.images) * output.augmentation.size**2 * 3 for output in outputs}
    copied = [pixels[output.path] for output in outputs if rows_per_part("images", len(output.images)) is None]
    return identity + sum(pixels.values()) + max(copied, default=0)
