"""Two classifiers on the same images: who is better, how surely, where, and on which images they changed side."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cache.errors import RecordError
from pipeline.metrics.intervals import Interval, paired_interval
from pipeline.metrics.predictions import Predictions


@dataclass(frozen=True)
class ClassChange:
    """One class under both: its images, and the share of them that each gets right."""

    name: str
    support: int
    before: float
    after: float
    change: float


@dataclass(frozen=True)
class ChangedImage:
    """An image that one of the two gets right: its row and id, and what each took it for."""

    row: int
    id: str
    actual: str
    before: str
    after: str
    gained: bool


@dataclass(frozen=True)
class Comparison:
    """`after` against `before` on one variant.

    difference: of top-1, after minus before, with its paired interval. gained, lost: images that only after or only
    before gets right. p_value: McNemar's exact test (Psychometrika 12, 1947), two-sided: how often classifiers that
    are equally good would differ at least so much.
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


def compare(before: Predictions, after: Predictions, confidence: float) -> Comparison:
    """Raises RecordError where the predictions are not of the same images and classes in the same order."""
    from scipy.stats import binomtest

    if before.classes != after.classes:
        raise RecordError("predictions are of different classes", where=after.variant)
    difference = paired_interval([after], [before], confidence)
    gained, lost = (int((one.correct & ~other.correct).sum()) for one, other in ((after, before), (before, after)))
    p_value = float(binomtest(gained, gained + lost).pvalue) if gained + lost else 1.0
    return Comparison(
        variant=after.variant,
        n=len(after),
        before=float(before.correct.mean()),
        after=float(after.correct.mean()),
        difference=difference,
        gained=gained,
        lost=lost,
        p_value=p_value,
        classes=_class_changes(before, after),
        images=_changed_images(before, after),
    )


def _class_changes(before: Predictions, after: Predictions) -> tuple[ClassChange, ...]:
    """The classes that have images, the largest change first."""
    support = np.bincount(after.labels, minlength=len(after.classes))
    right = [np.bincount(one.labels[one.correct], minlength=len(support)) for one in (before, after)]
    rows = [
        ClassChange(name, int(total), float(old / total), float(new / total), float((new - old) / total))
        for name, total, old, new in zip(after.classes, support, *right, strict=True)
        if total
    ]
    return tuple(sorted(rows, key=lambda row: -abs(row.change)))


def _changed_images(before: Predictions, after: Predictions) -> tuple[ChangedImage, ...]:
    """Losses first, then gains, each in the order of rows."""
    changed = np.flatnonzero(before.correct != after.correct)
    rows = sorted(changed.tolist(), key=lambda row: (bool(after.correct[row]), row))
    return tuple(
        ChangedImage(
            row=row,
            id=after.ids[row].decode(),
            actual=after.classes[after.labels[row]],
            before=before.classes[before.predicted[row]],
            after=after.classes[after.predicted[row]],
            gained=bool(after.correct[row]),
        )
        for row in rows
    )


def comparison_table(found: Sequence[Comparison]) -> list[str]:
    """Lines of text, one a variant."""
    width = max(len(one.variant) for one in found) + 2
    numbers = f"{'images':>8}{'before':>9}{'after':>9}  {'change, points':<24}{'gained':>8}{'lost':>8}{'p':>9}"
    lines = [f"{'variant':<{width}}{numbers}"]
    for one in found:
        change = one.difference
        points = f"{100 * change.value:+.1f} [{100 * change.low:+.1f}, {100 * change.high:+.1f}]"
        shares = f"{one.n:>8,}{one.before:>9.1%}{one.after:>9.1%}"
        lines.append(f"{one.variant:<{width}}{shares}  {points:<24}{one.gained:>8,}{one.lost:>8,}{one.p_value:>9.2g}")
    return lines
