"""Splits that corrections of labels do not move, so that accuracies before and after are of the same images.

A class is split as it was before a person corrected its labels, with the images that are left out now; then these go,
and the others take their new labels along. So the classes of val and test are no longer of exactly the shares that
prepare.val and prepare.test ask for: they differ by the corrected images. If a class has no image left in a split, the
split that has most of them gives one. Copies are the exception: of what corrections make one class or several, other
images are kept, and one image at each boundary of that class may move.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cache.errors import InputError
from cache.layout import Array
from pipeline.ingest.split import SplitRule, find_duplicates, order_of_choice, split_rows

LEAST = 2  # images of a class that a split needs to give one
REMEDY = "Relabel or drop fewer images of the class, or add images to it."


@dataclass(frozen=True)
class FormerImages:
    """Columns of images as they were before corrections: ids S64 [n], labels and held int [n]."""

    ids: Array
    labels: Array
    held: Array

    def take(self, rows: Array) -> "FormerImages":
        """The chosen rows."""
        return FormerImages(self.ids[rows], self.labels[rows], self.held[rows])

    def followed_by(self, other: "FormerImages") -> "FormerImages":
        """Both, one after the other."""
        columns = ("ids", "labels", "held")
        return FormerImages(*(np.concatenate([getattr(self, name), getattr(other, name)]) for name in columns))

    def gone(self, kept: Array, removes_copies: bool) -> "FormerImages":
        """Those that were split before corrections and are not among the kept ids now."""
        every = find_duplicates(self.ids, self.labels, self.held).kept if removes_copies else np.arange(len(self.ids))
        return self.take(every[~np.isin(self.ids[every], kept)])


@dataclass(frozen=True)
class SteadySplit:
    """rows: int [k] of each split. moved: rows that had to go into another split, by its name."""

    rows: dict[str, Array]
    moved: dict[int, str]


def split_steadily(
    present: FormerImages, gone: FormerImages, labels: Array, classes: Sequence[str], rule: SplitRule
) -> SteadySplit:
    """Split the present images by their former labels; labels int [n] are their corrected ones, of at least one class.

    Rows are ordered by corrected class, then as `split_rows` orders them. Raises InputError if a class would be left
    without images in a split.
    """
    together = present.followed_by(gone)
    before = split_rows(together.ids, together.labels, together.held, classes, rule, {})
    rows = {split: index[index < len(labels)] for split, index in before.items()}
    moved = _fill(rows, present.ids, labels, classes, rule)
    order = np.empty(len(labels), dtype=np.int64)
    order[order_of_choice(present.ids, labels, rule.seed)] = np.arange(len(labels))
    return SteadySplit({split: index[np.argsort(order[index])] for split, index in rows.items()}, moved)


def _fill(rows: dict[str, Array], ids: Array, labels: Array, classes: Sequence[str], rule: SplitRule) -> dict[int, str]:
    """Give each split at least one image of each class; return which rows have moved, and where to."""
    official = {split for split in ("val", "test") if getattr(rule, split) == "official"}
    moved = {}
    for split in tuple(rows):
        counts = np.bincount(labels[rows[split]], minlength=len(classes))
        for number in np.flatnonzero(counts == 0).tolist():
            where = f"class {classes[number]}"
            if split in official:
                raise InputError(f"no official {split} image is left", where=where, remedy=REMEDY)
            own = {name: index[labels[index] == number] for name, index in rows.items() if name not in official}
            giver = max(own, key=lambda name: len(own[name]))
            if len(own[giver]) < LEAST:
                expected = f"one image in {split}"
                raise InputError("too few images to split", where=where, expected=expected, found="none", remedy=REMEDY)
            row = int(own[giver][order_of_choice(ids[own[giver]], labels[own[giver]], rule.seed)[0]])
            rows[giver] = rows[giver][rows[giver] != row]
            rows[split] = np.append(rows[split], row)
            moved[row] = split
    return moved
