"""How a large source is shared out by class, so that whoever decodes images can write part files of the prepared set.

The rows of a set are sorted by class, and within a class by the SHA-256 of pixels, which nobody knows before all of the
class is decoded. So a task decodes whole classes, sorts what will be training rows, and writes them as the part files
that they will be. That is a guess: a copy of an image elsewhere changes it. Parts that turn out otherwise are put
together from what the tasks have written, and the set is the same.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cache.errors import InputError
from cache.layout import Array, rows_per_part
from pipeline.config.prepare import PrepareConfig
from pipeline.ingest.choose_files import rule_of
from pipeline.ingest.layouts import Layout
from pipeline.ingest.split import SplitRule, find_duplicates, split_rows, training_counts, without_looking

GROUP_BYTES = 256 << 20  # of pixels, that a task holds at once to sort them
TASK_BYTES = 64 << 20  # of pixels, if they cannot be sorted
MOST = 1024  # images


@dataclass(frozen=True)
class TrainingOrder:
    """What tells the training rows among images whose classes are all there. labels, held: int [k], of these images."""

    labels: Array
    held: Array
    rule: SplitRule
    removes_copies: bool
    rows_per_part: int

    def parts(self, ids: Array, readable: Array) -> list[Array]:
        """Numbers of images int [m] by part: training rows in the order of the set, then all others.

        ids: S64 [r], of the readable images. readable: int [r], their numbers.
        """
        train = self._training_rows(ids, readable) if len(readable) else readable
        others = np.setdiff1d(np.arange(len(readable)), train)
        return [readable[part] for rows in (train, others) for part in _slices(rows, self.rows_per_part)]

    def _training_rows(self, ids: Array, readable: Array) -> Array:
        numbers, labels = np.unique(self.labels[readable], return_inverse=True)
        held = self.held[readable]
        looks = self.removes_copies
        kept = find_duplicates(ids, labels, held).kept if looks else without_looking(len(ids)).kept
        names = tuple(map(str, numbers.tolist()))
        try:
            return kept[split_rows(ids[kept], labels[kept], held[kept], names, self.rule, {})["train"]]
        except InputError:  # raised again, with the reason, when all is decoded
            return np.empty(0, dtype=np.int64)


@dataclass(frozen=True)
class Group:
    """The images that one task decodes. slots: int [k], numbers in the layout. order: None if nothing is sorted.

    training: how many part files' rows it will write as they will be, if the guess is right.
    """

    slots: Array
    order: TrainingOrder | None = None
    training: int = 0


def plan_groups(layout: Layout, config: PrepareConfig) -> list[Group]:
    """All images of a layout in groups: whole classes if train will be a large set, and they fit into memory."""
    rule = rule_of(config)
    counts = training_counts(layout.labels, layout.held, len(layout.classes), rule)
    total = int(counts.sum())
    in_part = rows_per_part("images", total)
    row_bytes = config.size**2 * 3
    few = min(MOST, max(1, TASK_BYTES // row_bytes))
    if in_part is None or (config.imbalance and config.duplicates != "keep"):
        return [Group(slots) for slots in _slices(np.arange(len(layout.names)), few)]
    groups = []
    for slots in _by_class(layout.labels, classes_per_part(total, len(layout.classes), in_part)):
        if len(slots) * row_bytes > GROUP_BYTES:
            groups += [Group(part) for part in _slices(slots, few)]
            continue
        labels = layout.labels[slots]
        order = TrainingOrder(labels, layout.held[slots], rule, config.duplicates != "keep", in_part)
        groups.append(Group(slots, order, int(counts[np.unique(labels)].sum())))
    return groups


def classes_per_part(rows: int, classes: int, rows_in_part: int) -> int:
    """How many classes share a part file: as many as fill one on average, at least one."""
    return max(1, rows_in_part * classes // max(1, rows))


def class_starts(labels: Array, classes: int, rows_in_part: int) -> Array:
    """The first row of each part, int [p]: every so many classes, and within these after `rows_in_part` rows.

    labels: int [n], sorted. So one image more or less changes the parts of its own class, and no others.
    """
    together = classes_per_part(len(labels), classes, rows_in_part)
    starts = np.flatnonzero(np.diff(labels // together, prepend=-1))
    ends = np.append(starts[1:], len(labels))
    return np.concatenate(
        [np.arange(start, end, rows_in_part) for start, end in zip(starts.tolist(), ends.tolist(), strict=True)]
    )


def _by_class(labels: Array, together: int) -> list[Array]:
    """Slots of every so many classes, in the order of their classes."""
    order = np.argsort(labels, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(labels[order] // together)) + 1)


def _slices(rows: Array, count: int) -> Sequence[Array]:
    return [rows[start : start + count] for start in range(0, len(rows), count)]
