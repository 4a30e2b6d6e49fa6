"""What more photos bring: accuracy by images per class, and the gain of each class, each with its standard error."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cache.layout import Array
from pipeline.heads.cross_validation import CurvePoint
from pipeline.metrics.intervals import accuracy_interval


@dataclass(frozen=True)
class LearningPoint:
    """Accuracy of heads that are trained on so many images per class, with its interval.

    gain: over the point before, which has half the images. error: standard error of the gain, over images. Both None
    for the first point.
    """

    images_per_class: float
    accuracy: float
    low: float
    high: float
    gain: float | None
    error: float | None


@dataclass(frozen=True)
class ClassGain:
    """What a class gained when its images, and those of all others, doubled: recall with half of them and with all.

    error: standard error of the gain, over the class's images.
    """

    name: str
    images: int
    half: float
    all: float
    gain: float
    error: float


def learning_points(curve: Sequence[CurvePoint], confidence: float) -> list[LearningPoint]:
    """Each point of the curve with its interval, and what it gained over the one before."""
    points = []
    for before, point in zip([None, *curve], curve, strict=False):
        interval = accuracy_interval(int(point.right.sum()), len(point.right), confidence)
        gained = (None, None) if before is None else paired_gain(before.right, point.right)
        count = round(point.rows_per_class, 1)
        points.append(LearningPoint(count, interval.value, interval.low, interval.high, *gained))
    return points


def paired_gain(before: Array, after: Array) -> tuple[float, float]:
    """How much more of the same images is right, and the standard error of that.

    before, after: bool [n], n > 0. The error is at least that of one image that changed, 1 / n: a few images that are
    all alike tell nothing certain.
    """
    differences = after.astype(np.float64) - before
    count = len(differences)
    deviation = float(differences.std(ddof=1)) if count > 1 else 0.0
    return float(differences.mean()), max(deviation / count**0.5, 1 / count)


def class_gains(curve: Sequence[CurvePoint], labels: Array, classes: Sequence[str]) -> list[ClassGain]:
    """The class that gained most first; nothing if there are fewer than two points. labels: int [n] of the rows."""
    if len(curve) < 2:
        return []
    half, whole = (point.right for point in curve[-2:])
    gains = []
    for number, name in enumerate(classes):
        members = labels == number
        if members.any():
            before = half[members]
            after = whole[members]
            gained = paired_gain(before, after)
            gains.append(ClassGain(name, len(before), float(before.mean()), float(after.mean()), *gained))
    return sorted(gains, key=lambda own: -own.gain)
