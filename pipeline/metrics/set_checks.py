"""Refusals of sets that do not belong together: the one home of these checks."""

from collections.abc import Collection, Mapping
from typing import Protocol

import numpy as np

from cache.errors import InputError, RecordError
from cache.layout import Array
from pipeline.config.shared.variants import GAN_PREFIX


class Identified(Protocol):
    """A set whose rows have labels int [n] and ids S64 [n]."""

    @property
    def labels(self) -> Array: ...
    @property
    def ids(self) -> Array: ...


class Variant(Identified, Protocol):
    """Such a set of one variant."""

    @property
    def variant(self) -> str: ...
    @property
    def classes(self) -> tuple[str, ...]: ...
    def __len__(self) -> int: ...


def check_same_rows(first: Identified, second: Identified, what: str, where: str = "", remedy: str = "") -> None:
    """Raise RecordError, whose message is `what`, unless both have the same ids and labels in the same order."""
    if not np.array_equal(first.ids, second.ids) or not np.array_equal(first.labels, second.labels):
        raise RecordError(
            what, where=where or None, expected="the same ids and labels in the same order", remedy=remedy
        )


def check_training_sets(
    train: Mapping[str, Variant], val: Mapping[str, Variant], wanted: Collection[str], stages: str
) -> None:
    """Refuse sets that a schedule lacks, that differ in images or classes, or whose val holds images of train.

    train, val: by variant. wanted: the variants that the schedule names. stages: which make the sets, for remedies.
    Raises InputError, RecordError.
    """
    for variant in sorted(wanted):
        if variant not in train:
            known = ", ".join(sorted(train)) or "none"
            what = "schedule names a variant that is not there"
            remedy = f"Run {stages}, or change the schedule."
            raise InputError(what, where="training", expected=known, found=variant, remedy=remedy)
        if not len(train[variant]):
            raise InputError("training set is empty", where=variant, remedy="Run prepare with more images.")
    remedy = f"Run {stages} again."
    if np.isin(_image_ids(val, remedy), _image_ids(train, remedy)).any():
        raise RecordError("some images are in both train and val", remedy=f"Run prepare, {stages} again.")
    sets = [*train.values(), *val.values()]
    for rows in sets[1:]:
        if rows.classes != sets[0].classes:
            raise RecordError("sets differ in classes", where=rows.variant, remedy=remedy)


def _image_ids(split: Mapping[str, Variant], remedy: str) -> Array:
    """Of the images that all variants of a split hold, except a GAN's samples."""
    drawn = [rows for rows in split.values() if not rows.variant.startswith(GAN_PREFIX)]
    for rows in drawn[1:]:
        check_same_rows(drawn[0], rows, "variants hold different images", rows.variant, remedy)
    return drawn[0].ids if drawn else np.empty(0, dtype="S64")
