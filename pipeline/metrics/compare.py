"""Two classifiers on the same images: which is better, how certainly, in which classes and on which images."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from cache.errors import RecordError
from cache.layout import Array
from pipeline.metrics.intervals import Interval, paired_interval
from pipeline.metrics.predictions import Predictions

LEAST_COMMON = 0.9  # share of the images of the larger run, so that other splits are not compared by chance


@dataclass(frozen=True)
class ClassChange:
    """One class: how many images it has, and the share of them that each classifier gets right."""

    name: str
    support: int
    before: float
    after: float
    change: float


@dataclass(frozen=True)
class ChangedImage:
    """An image that only one of the two gets right: its row, id and file (empty if unknown), and both predictions."""

    row: int
    id: str
    path: str
    actual: str
    before: str
    after: str
    gained: bool


@dataclass(frozen=True)
class Comparison:
    """`after` against `before` on one variant.

    difference: of top-1, after minus before, with its paired interval. gained: images that only `after` gets right.
    lost: images that only `before` gets right. p_value: how often two equally good classifiers would differ at least
    this much, by McNemar's test (Psychometrika 12, 1947), two-sided, as a mid-p value (Fagerland, Lydersen, Laake, BMC
    Med. Res. Methodol. 13, 2013), since the exact test finds too little. corrected: images whose label a person has
    corrected in between; both are judged by the label of `after`. uncorrected: accuracy of `before` by the labels that
    it had. unpaired: images that only one of the two has.
    """

    variant: str
    n: int
    before: float
    after: float
    difference: Interval
    gained: int
    lost: int
    p_value: float
    classes: tuple[ClassChange, ...]
    images: tuple[ChangedImage, ...]
    uncorrected: float
    corrected: int = 0
    unpaired: int = 0

    @property
    def remark(self) -> str:
        """What corrections in between mean for the comparison; empty without any."""
        remarks = []
        if self.corrected:
            count = f"{self.corrected:,}"
            remarks.append(f"labels of these images corrected in between: {count}, the later ones count for both")
            remarks.append(f"before had {100 * self.uncorrected:.1f}% by its own")
        if self.unpaired:
            count = "1 image is" if self.unpaired == 1 else f"{self.unpaired:,} images are"
            remarks.append(f"{count} in one run only and left out")
        return "".join(f"{remark}; " for remark in remarks)


def compare(before: Predictions, after: Predictions, confidence: float) -> Comparison:
    """Raises RecordError unless both are of the same classes and of the same images, all but a few."""
    if before.classes != after.classes:
        raise RecordError("predictions are of different classes", where=after.variant)
    count = len(before) + len(after)
    before, after, rows = _paired(before, after)
    uncorrected = float(before.correct.mean())
    corrected = 0
    if np.array_equal(before.ids, after.ids):
        corrected = int((before.labels != after.labels).sum())
        before = replace(before, labels=after.labels)
    difference = paired_interval([after], [before], confidence)
    gained = int((after.correct & ~before.correct).sum())
    lost = int((before.correct & ~after.correct).sum())
    return Comparison(
        variant=after.variant,
        n=len(after),
        before=float(before.correct.mean()),
        after=float(after.correct.mean()),
        difference=difference,
        gained=gained,
        lost=lost,
        p_value=_mid_p(gained, lost),
        classes=_class_changes(before, after),
        images=_changed_images(before, after, rows),
        uncorrected=uncorrected,
        corrected=corrected,
        unpaired=count - 2 * len(after),
    )


def _mid_p(gained: int, lost: int) -> float:
    """Two-sided, of so many gains and losses if each is as likely."""
    from scipy.stats import binom

    fewer = min(gained, lost)
    both = binom(gained + lost, 0.5)
    return min(1.0, float(2 * both.cdf(fewer) - both.pmf(fewer)))


def _paired(before: Predictions, after: Predictions) -> tuple[Predictions, Predictions, Array]:
    """The rows of both that are of the same images, in the order of `after`, and their numbers there.

    As they are if few are.
    """
    if np.array_equal(before.ids, after.ids):
        return before, after, np.arange(len(after))
    common, of_before, of_after = np.intersect1d(before.ids, after.ids, return_indices=True)
    if len(common) < LEAST_COMMON * max(len(before), len(after)):
        return before, after, np.arange(len(after))
    order = np.argsort(of_after)
    return before.take(of_before[order]), after.take(of_after[order]), of_after[order]


def _class_changes(before: Predictions, after: Predictions) -> tuple[ClassChange, ...]:
    """The classes that have images, the largest change first."""
    support = np.bincount(after.labels, minlength=len(after.classes))
    right = [np.bincount(side.labels[side.correct], minlength=len(support)) for side in (before, after)]
    rows = [
        ClassChange(name, int(total), float(old / total), float(new / total), float((new - old) / total))
        for name, total, old, new in zip(after.classes, support, *right, strict=True)
        if total
    ]
    return tuple(sorted(rows, key=lambda row: -abs(row.change)))


def _changed_images(before: Predictions, after: Predictions, numbers: Array) -> tuple[ChangedImage, ...]:
    """Losses first, then gains, each in the order of rows. numbers: int [n], of the rows in their set."""
    changed = np.flatnonzero(before.correct != after.correct)
    rows = sorted(changed.tolist(), key=lambda row: (bool(after.correct[row]), row))
    return tuple(
        ChangedImage(
            row=int(numbers[row]),
            id=after.ids[row].decode(),
            path="",
            actual=after.classes[after.labels[row]],
            before=before.classes[before.predicted[row]],
            after=after.classes[after.predicted[row]],
            gained=bool(after.correct[row]),
        )
        for row in rows
    )


COLUMNS = ("variant", "images", "before", "after", "change, points", "gained", "lost", "p")
LEGEND = "gained, lost: images that one run alone has right; p: how probably chance alone makes as great a difference"


def comparison_rows(comparisons: Sequence[Comparison]) -> list[tuple[str, ...]]:
    """A row of texts per variant, under `COLUMNS`."""
    return [
        (
            comparison.variant,
            f"{comparison.n:,}",
            f"{comparison.before:.1%}",
            f"{comparison.after:.1%}",
            _points(comparison.difference),
            f"{comparison.gained:,}",
            f"{comparison.lost:,}",
            f"{comparison.p_value:.2g}",
        )
        for comparison in comparisons
    ]


def _points(change: Interval) -> str:
    return f"{100 * change.value:+.1f} [{100 * change.low:+.1f}, {100 * change.high:+.1f}]"
