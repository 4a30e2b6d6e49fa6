"""Intervals: Wilson's for accuracies, bootstraps for differences and macro F1, and spread over seeds or folds."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cache.errors import RecordError
from cache.layout import Array
from pipeline.metrics.predictions import Predictions
from pipeline.metrics.set_checks import check_same_rows

RESAMPLES = 1000  # of macro F1, each of which costs a confusion matrix
PAIRED_RESAMPLES = 20_000  # of a difference, which cost next to nothing
BOOTSTRAP_SEED = 0  # a single seed, so equal predictions always get equal intervals
CHUNK_CELLS = 4_000_000  # counts that are held at once


@dataclass(frozen=True)
class Interval:
    """A value and its confidence interval."""

    value: float
    low: float
    high: float

    def percent(self) -> str:
        """Such as `71.9 % [70.6, 73.1]`."""
        return f"{100 * self.value:.1f} % [{100 * self.low:.1f}, {100 * self.high:.1f}]"


def accuracy_interval(right: int, n: int, confidence: float) -> Interval:
    """The share right / n with Wilson's interval. Raises RecordError unless 0 <= right <= n and n > 0."""
    from scipy.stats import binomtest

    if not 0 <= right <= n or n == 0:
        raise RecordError("not a share", expected="0 <= right <= n and n > 0", found=f"{right} of {n}")
    bounds = binomtest(right, n).proportion_ci(confidence, method="wilson")
    return Interval(right / n, float(bounds.low), float(bounds.high))


def macro_f1_interval(confusion: Array, confidence: float) -> Interval:
    """Macro F1 over the classes that have images, and its bootstrap interval.

    Resampling n images is the same as drawing the confusion matrix's cells from a multinomial distribution.
    """
    from scipy.sparse import csr_array

    n = int(confusion.sum())
    c = len(confusion)
    actual, predicted = np.nonzero(confusion)
    cells = confusion[actual, predicted]  # [k], k <= n
    ones = np.ones(len(cells), dtype=np.int64)
    numbers = np.arange(len(cells))
    by_actual = csr_array((ones, (numbers, actual)), shape=(len(cells), c))
    by_predicted = csr_array((ones, (numbers, predicted)), shape=(len(cells), c))
    on_diagonal = csr_array(((actual == predicted).astype(np.int64), (numbers, actual)), shape=(len(cells), c))

    def macro_f1(counts: Array) -> Array:  # [b, k] -> [b]
        support = counts @ by_actual  # [b, c]
        right = counts @ on_diagonal  # [b, c]
        f1 = 2 * right / np.maximum(support + counts @ by_predicted, 1)
        return np.asarray((f1 * (support > 0)).sum(axis=1) / (support > 0).sum(axis=1))

    generator = np.random.default_rng(BOOTSTRAP_SEED)
    step = max(1, CHUNK_CELLS // max(len(cells), c))
    sizes = [min(step, RESAMPLES - start) for start in range(0, RESAMPLES, step)]
    drawn = np.concatenate([macro_f1(generator.multinomial(n, cells / n, size=size)) for size in sizes])
    value = float(macro_f1(cells[None])[0])
    # F1 is biased in small samples, and twice so in resamples of them; reflected percentiles remove that bias.
    low, high = np.clip(2 * value - _bounds(drawn, confidence)[::-1], 0, 1)
    return Interval(value, float(low), float(high))


def _bounds(drawn: Array, confidence: float) -> Array:
    return np.asarray(np.quantile(drawn, [(1 - confidence) / 2, (1 + confidence) / 2]))


def paired_interval(a: Sequence[Predictions], b: Sequence[Predictions], confidence: float) -> Interval:
    """By how much the accuracy of a exceeds that of b on the same images, each averaged over its seeds.

    a, b: one Predictions per seed. The interval is a bootstrap over images, each drawn with all its predictions: it
    tells the spread over images, not over seeds. Raises RecordError if rows differ.
    """
    if not a or not b or len(a[0]) == 0:
        raise RecordError("nothing to compare", expected="predictions of at least one image on each side")
    for other in [*a, *b]:
        check_same_rows(other, a[0], "predictions are of different rows")
    # The [n] differences have few distinct values, so images of the same difference are drawn together.
    right_a = np.sum([predictions.correct for predictions in a], axis=0)
    right_b = np.sum([predictions.correct for predictions in b], axis=0)
    gains, counts = np.unique(right_a * len(b) - right_b * len(a), return_counts=True)  # in units of 1 / |a| |b|
    n = len(a[0])
    unit = 1 / (len(a) * len(b))
    generator = np.random.default_rng(BOOTSTRAP_SEED)
    drawn = generator.multinomial(n, counts / n, size=PAIRED_RESAMPLES) @ gains * unit / n
    low, high = _bounds(drawn, confidence)
    return Interval(float(counts @ gains) * unit / n, float(low), float(high))


@dataclass(frozen=True)
class Spread:
    """Mean and standard deviation over seeds or folds, and their count."""

    mean: float
    deviation: float
    count: int

    def percent(self) -> str:
        """Such as `71.9 ± 0.2 %`."""
        return f"{100 * self.mean:.1f} ± {100 * self.deviation:.1f} %"


def spread(values: Sequence[float] | Array) -> Spread:
    """Of some values; the deviation of a single value is 0."""
    return Spread(float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else 0.0, len(values))
