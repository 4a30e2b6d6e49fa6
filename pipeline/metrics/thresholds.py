"""How often predictions above a confidence are wrong, as measured on images that the classifier was not trained on."""

from collections.abc import Sequence
from dataclasses import dataclass

from cache.layout import Array
from pipeline.metrics.intervals import accuracy_interval

THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)
CONFIDENCE = 0.95


@dataclass(frozen=True)
class ThresholdError:
    """Of `images` measured ones, `above` have at least this confidence, and `wrong` of them are wrong, a share.

    low, high: the 95 % interval of `wrong`; from 0 to 1 if none is above.
    """

    threshold: float
    images: int
    above: int
    wrong: float
    low: float
    high: float

    def __str__(self) -> str:
        if not self.above:
            return f"no image of val is above {self.threshold:g}, so its error is not known"
        share = 100 * self.above / self.images
        interval = f"[{100 * self.low:.1f}, {100 * self.high:.1f}]"
        return (
            f"of the {self.images:,} images of val, {self.above:,} ({share:.0f} %) are above {self.threshold:g}, "
            f"and {100 * self.wrong:.1f} % {interval} of these are wrong"
        )


def threshold_error(probabilities: Array, labels: Array, threshold: float) -> ThresholdError:
    """probabilities: float [n, c]. labels: int [n]."""
    above = probabilities.max(axis=1) >= threshold
    right = int((probabilities.argmax(axis=1) == labels)[above].sum())
    count = int(above.sum())
    if not count:
        return ThresholdError(threshold, len(labels), 0, 0.0, 0.0, 1.0)
    interval = accuracy_interval(right, count, CONFIDENCE)
    return ThresholdError(threshold, len(labels), count, 1 - interval.value, 1 - interval.high, 1 - interval.low)


def threshold_errors(
    probabilities: Array, labels: Array, thresholds: Sequence[float] = THRESHOLDS
) -> list[ThresholdError]:
    """One for each threshold; nothing without images."""
    return [threshold_error(probabilities, labels, threshold) for threshold in thresholds] if len(labels) else []
