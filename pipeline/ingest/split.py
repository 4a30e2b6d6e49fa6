"""Choose which image goes into which split. Pure: columns in, row numbers out.

Duplicates are images of the same stored pixels. Of copies in one class one is kept: a held-out one if there is one
(official test before val before train). Copies in several classes contradict each other: none is kept.

Every choice orders the images of a class by SHA-256 of (seed, id) and takes from the front: test first, then val,
then training images up to the limit. So nothing depends on file names or order, one photo more or less moves at
most one image at each boundary, and changing val does not change test.
"""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from cache.errors import InputError
from cache.layout import Array
from pipeline.config.prepare import HoldOut, ImbalanceConfig
from pipeline.ingest.layouts import SPLITS

TRAIN, VAL, TEST = range(len(SPLITS))
LOSS_REMEDY = "Keep every image in one class and in one split, and mend what cannot be read, or take the class away."


@dataclass(frozen=True)
class Duplicates:
    """kept: rows int [k] that stay. groups: rows of the same pixels, the kept one first; conflicting: none kept."""

    kept: Array
    groups: list[list[int]]
    conflicting: list[list[int]]

    @property
    def removed(self) -> int:
        """How many images are taken out."""
        return sum(len(group) - 1 for group in self.groups) + sum(map(len, self.conflicting))


@dataclass(frozen=True)
class SplitRule:
    """How many images of each class are held out, and how many of the rest are kept."""

    val: HoldOut
    test: HoldOut
    limit_per_class: int | None
    seed: int


def find_duplicates(ids: Array, labels: Array, held: Array) -> Duplicates:
    """Groups of equal ids among rows [n] in the order of their names."""
    order = np.lexsort((np.arange(len(ids)), -held.astype(np.int64), ids))
    starts = np.flatnonzero(np.concatenate([[True], ids[order][1:] != ids[order][:-1]])) if len(ids) else order
    groups = [group for group in np.split(order, starts[1:]) if len(group) > 1]
    same: list[list[int]] = []
    conflicting: list[list[int]] = []
    kept = np.ones(len(ids), dtype=bool)
    for group in groups:
        agree = (labels[group] == labels[group[0]]).all()
        kept[group[1:] if agree else group] = False
        (same if agree else conflicting).append(group.tolist())
    return Duplicates(np.flatnonzero(kept), sorted(same), sorted(conflicting))


def without_looking(count: int) -> Duplicates:
    """What is known of so many rows if nobody looks for duplicates: all stay."""
    return Duplicates(np.arange(count), [], [])


def refuse_duplicates(duplicates: Duplicates, names: Sequence[str]) -> None:
    """Raise InputError if there are any."""
    groups = duplicates.conflicting + duplicates.groups
    if groups:
        first = " and ".join(names[row] for row in groups[0][:2])
        remedy = "Delete the copies, or set prepare.duplicates to remove."
        raise InputError(f"pixels repeat; {duplicates.removed:,} images would be removed", found=first, remedy=remedy)


def explain_losses(
    labels: Array, classes: Sequence[str], duplicates: Duplicates, unreadable: Array, names: Sequence[str]
) -> dict[str, str]:
    """Of each class that lost images: how many, and why.

    labels int [n] and names [n]: of all that was read, which duplicates are rows of. unreadable int [classes].
    """
    conflicting = Counter(int(labels[row]) for group in duplicates.conflicting for row in group)
    copies = Counter(int(labels[row]) for group in duplicates.groups for row in group[1:])
    totals = np.bincount(labels, minlength=len(classes)) + unreadable
    losses = {}
    for number, name in enumerate(classes):
        reasons = []
        if conflicting[number]:
            group = next(group for group in duplicates.conflicting if number in labels[group])
            pair = [next(row for row in group if (labels[row] == number) is own) for own in (np.True_, np.False_)]
            example = " and ".join(names[row] for row in pair)
            reasons.append(
                f"{conflicting[number]:,} have the same pixels as images of other classes, such as {example}"
            )
        if copies[number]:
            reasons.append(f"{copies[number]:,} are copies")
        if unreadable[number]:
            reasons.append(f"{unreadable[number]:,} cannot be read")
        if reasons:
            losses[name] = f"of its {totals[number]:,} images, {', '.join(reasons)}"
    return losses


def split_rows(
    ids: Array, labels: Array, held: Array, classes: Sequence[str], rule: SplitRule, losses: Mapping[str, str]
) -> dict[str, Array]:
    """Rows of each split, by class and then by SHA-256 of (seed, id). A split that is `none` is absent.

    ids S64 [n], all different; labels and held int [n]. losses: why classes have fewer images than files; see
    `explain_losses`. Raises InputError if a class would be left without images.
    """
    order = order_of_choice(ids, labels, rule.seed)
    bounds = np.searchsorted(labels[order], np.arange(len(classes) + 1))
    parts: list[list[Array]] = [[], [], []]
    for number, name in enumerate(classes):
        members = order[bounds[number] : bounds[number + 1]]
        for part, rows in zip(parts, _split_class(members, held, rule, name, losses.get(name, "")), strict=True):
            part.append(rows)
    absent = {split for split in ("val", "test") if getattr(rule, split) == "none"}
    return {split: np.concatenate(part) for split, part in zip(SPLITS, parts, strict=True) if split not in absent}


def training_counts(labels: Array, held: Array, classes: int, rule: SplitRule) -> Array:
    """How many training images each class will have, int [classes], if no image is unreadable or has a copy."""
    available = np.bincount(labels[held == TRAIN], minlength=classes).tolist()
    left = [count - _count(rule.test, count) - _count(rule.val, count) for count in available]
    return np.array(left, dtype=np.int64).clip(0, rule.limit_per_class)


def imbalanced_rows(
    ids: Array, labels: Array, held: Array, classes: Sequence[str], law: ImbalanceConfig, seed: int
) -> tuple[Array, list[int]]:
    """Rows that the law keeps, and the numbers of the classes that it keeps, both in their old order.

    Official held-out images of kept classes stay. Raises InputError if a class has fewer images than the law says.
    """
    drawn = np.argsort(_ranks(list(classes), seed))[: law.classes or len(classes)]
    if law.classes is not None and law.classes > len(classes):
        raise InputError("too few classes for prepare.imbalance", expected=law.classes, found=len(classes))
    shares = np.linspace(0, 1, len(drawn)) ** law.shape
    sizes = np.floor(law.largest - (law.largest - law.smallest) * shares + 0.5).astype(np.int64)
    order = order_of_choice(ids, labels, seed)
    kept = []
    for number, size in zip(drawn, sizes, strict=True):
        members = order[labels[order] == number]
        pool = members[held[members] == TRAIN]
        if len(pool) < size:
            remedy = "Lower prepare.imbalance.largest."
            where = f"class {classes[number]}"
            raise InputError(
                "too few images for prepare.imbalance", where=where, expected=size, found=len(pool), remedy=remedy
            )
        kept.append(np.concatenate([pool[:size], members[held[members] != TRAIN]]))
    return np.sort(np.concatenate(kept)), sorted(drawn.tolist())


def order_of_choice(ids: Array, labels: Array, seed: int) -> Array:
    """Rows int [n] by class, and within it in the order in which they are chosen."""
    return np.lexsort((_ranks([id_.decode() for id_ in ids], seed), labels))


def _ranks(names: Sequence[str], seed: int) -> Array:
    """S64 [n]: by which a seed orders names."""
    return np.array([hashlib.sha256(f"{seed}:{name}".encode()).hexdigest() for name in names], dtype="S64")


def _split_class(members: Array, held: Array, rule: SplitRule, name: str, loss: str) -> tuple[Array, Array, Array]:
    """Train, val and test rows of one class. members: its rows in the order of choice. loss: why some are missing."""
    pool = members[held[members] == TRAIN]
    for_test = _count(rule.test, len(pool))
    for_val = _count(rule.val, len(pool))
    cause = f": {loss}" if loss else ""
    if len(pool) <= for_test + for_val:
        raise InputError(
            "too few images to split",
            where=f"class {name}",
            expected=f"more than {for_test} test + {for_val} val",
            found=f"{len(pool)}{cause}",
            remedy=LOSS_REMEDY if loss else "Lower prepare.test or prepare.val, or add images.",
        )
    test = members[held[members] == TEST] if rule.test == "official" else pool[:for_test]
    val = members[held[members] == VAL] if rule.val == "official" else pool[for_test : for_test + for_val]
    for split, rows, chosen in (("test", test, rule.test), ("val", val, rule.val)):
        if chosen == "official" and not len(rows):
            remedy = LOSS_REMEDY if loss else "Add images to it."
            raise InputError(f"no official {split} image is left{cause}", where=f"class {name}", remedy=remedy)
    train = pool[for_test + for_val :]
    return train[: rule.limit_per_class], val, test


def _count(rule: HoldOut, available: int) -> int:
    """How many of a class's images a rule holds out: a fraction is rounded, half up, and is at least one."""
    if isinstance(rule, str):
        return 0
    return max(1, int(available * rule + 0.5)) if isinstance(rule, float) else rule
