"""How good predictions are: accuracies with their intervals, figures per class, confusions, and paired comparison.

Numbers in, numbers out. Intervals of accuracies are Wilson's (J. Am. Stat. Assoc. 22, 1927); those of
differences and of macro F1 come from a bootstrap over images: percentiles, and reflected ones (Davison and Hinkley
1997, section 5.2).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cache.errors import RecordError
from cache.layout import Array
from pipeline.metrics.calibration import calibration_error
from pipeline.metrics.predictions import Predictions

RESAMPLES = 1000  # a percentile of macro F1 costs a confusion matrix each
PAIRED_RESAMPLES = 20_000  # those of a difference cost next to nothing
BOOTSTRAP_SEED = 0  # one seed for all, so equal predictions always get equal intervals
CHUNK_CELLS = 4_000_000


@dataclass(frozen=True)
class Interval:
    """A figure and the interval that holds it at the chosen confidence."""

    value: float
    low: float
    high: float

    def percent(self) -> str:
        """Such as `71.9 % [70.6, 73.1]`."""
        return f"{100 * self.value:.1f} % [{100 * self.low:.1f}, {100 * self.high:.1f}]"


@dataclass(frozen=True)
class ClassScores:
    """One class on its own: how many images it has, and precision, recall and F1 (0 where undefined).

    taken_for: the class that most of its images are taken for wrongly, and their share of all its images; empty, 0.
    """

    name: str
    support: int
    precision: float
    recall: float
    f1: float
    taken_for: str
    share: float


@dataclass(frozen=True)
class Report:
    """How good one variant's predictions are.

    ece: expected calibration error. confusion: int [c, c], actual by predicted.
    """

    variant: str
    n: int
    top1: Interval
    top5: Interval
    macro_f1: Interval
    ece: float
    classes: tuple[ClassScores, ...]
    confusion: Array


@dataclass(frozen=True)
class ConfusedPair:
    """Images of `actual` taken for `predicted`: how many, and their share of all images of `actual`."""

    actual: str
    predicted: str
    count: int
    share: float


@dataclass(frozen=True)
class Mistake:
    """A wrong prediction: its row, the image's id, and the probability that was given to the wrong class."""

    row: int
    id: str
    actual: str
    predicted: str
    probability: float


def evaluate(predictions: Predictions, confidence: float) -> Report:
    """Every figure of one variant. Raises RecordError where there is nothing to judge."""
    from sklearn.metrics import confusion_matrix

    n, c = len(predictions), len(predictions.classes)
    if n == 0:
        raise RecordError("no rows to evaluate", where=predictions.variant, expected="at least one image")
    confusion = confusion_matrix(predictions.labels, predictions.predicted, labels=np.arange(c))
    return Report(
        variant=predictions.variant,
        n=n,
        top1=accuracy_interval(int(predictions.correct.sum()), n, confidence),
        top5=accuracy_interval(int((predictions.ranks < 5).sum()), n, confidence),
        macro_f1=_macro_f1_interval(confusion, confidence),
        ece=calibration_error(predictions),
        classes=_class_scores(predictions, confusion),
        confusion=confusion,
    )


def accuracy_interval(right: int, n: int, confidence: float) -> Interval:
    """The share right / n with Wilson's interval. Raises RecordError unless 0 <= right <= n and n > 0."""
    from scipy.stats import binomtest

    if not 0 <= right <= n or n == 0:
        raise RecordError("not a share", expected="0 <= right <= n and n > 0", found=f"{right} of {n}")
    bounds = binomtest(right, n).proportion_ci(confidence, method="wilson")
    return Interval(right / n, float(bounds.low), float(bounds.high))


def _class_scores(predictions: Predictions, confusion: Array) -> tuple[ClassScores, ...]:
    from sklearn.metrics import precision_recall_fscore_support

    numbers = np.arange(len(predictions.classes))
    precision, recall, f1, support = precision_recall_fscore_support(
        predictions.labels, predictions.predicted, labels=numbers, zero_division=0
    )
    wrong, names = confusion * (1 - np.eye(len(confusion), dtype=np.int64)), predictions.classes
    most, worst = wrong.max(axis=1), wrong.argmax(axis=1)
    rows = zip(names, support, precision, recall, f1, most, worst, strict=True)
    return tuple(
        ClassScores(name, int(s), float(p), float(r), float(f), names[w] if m else "", float(m / max(1, s)))
        for name, s, p, r, f, m, w in rows
    )


def size_correlation(report: Report, sizes: Array) -> float | None:
    """Pearson's, of F1 with the classes' training images int [c] (report 004); None where one of them is constant."""
    f1 = np.array([scores.f1 for scores in report.classes])
    if len(f1) < 3 or not np.ptp(sizes) or not np.ptp(f1):
        return None
    return float(np.corrcoef(sizes, f1)[0, 1])


def _macro_f1_interval(confusion: Array, confidence: float) -> Interval:
    """Macro F1 over the classes that have images, and its bootstrap interval.

    Drawing n images anew is drawing the confusion matrix's cells from a multinomial, so no image is touched.
    """
    from scipy.sparse import csr_array

    n, c = int(confusion.sum()), len(confusion)
    actual, predicted = np.nonzero(confusion)
    cells = confusion[actual, predicted]  # [k], k <= n
    ones, numbers = np.ones(len(cells), dtype=np.int64), np.arange(len(cells))
    by_actual = csr_array((ones, (numbers, actual)), shape=(len(cells), c))
    by_predicted = csr_array((ones, (numbers, predicted)), shape=(len(cells), c))
    on_diagonal = csr_array(((actual == predicted).astype(np.int64), (numbers, actual)), shape=(len(cells), c))

    def macro_f1(counts: Array) -> Array:  # [b, k] -> [b]
        support, right = counts @ by_actual, counts @ on_diagonal  # [b, c]
        f1 = 2 * right / np.maximum(support + counts @ by_predicted, 1)
        return np.asarray((f1 * (support > 0)).sum(axis=1) / (support > 0).sum(axis=1))

    generator = np.random.default_rng(BOOTSTRAP_SEED)
    step = max(1, CHUNK_CELLS // max(len(cells), c))
    sizes = [min(step, RESAMPLES - start) for start in range(0, RESAMPLES, step)]
    drawn = np.concatenate([macro_f1(generator.multinomial(n, cells / n, size=size)) for size in sizes])
    value = float(macro_f1(cells[None])[0])
    # F1 is biased in small samples, and more so in samples of samples: reflecting the percentiles takes that out.
    low, high = np.clip(2 * value - _bounds(drawn, confidence)[::-1], 0, 1)
    return Interval(value, float(low), float(high))


def _bounds(drawn: Array, confidence: float) -> Array:
    return np.asarray(np.quantile(drawn, [(1 - confidence) / 2, (1 + confidence) / 2]))


def confused_pairs(report: Report, most: int) -> list[ConfusedPair]:
    """The pairs confused most often, the worst first, at most `most` of them."""
    wrong = report.confusion * (1 - np.eye(len(report.confusion), dtype=np.int64))
    order = np.argsort(-wrong, axis=None, kind="stable")[:most]
    pairs = [divmod(int(place), len(wrong)) for place in order]
    names = [row.name for row in report.classes]
    return [
        ConfusedPair(names[actual], names[predicted], int(wrong[actual, predicted]), share)
        for actual, predicted in pairs
        if (share := float(wrong[actual, predicted]) / max(1, report.classes[actual].support)) > 0
    ]


def confident_mistakes(predictions: Predictions, most: int) -> list[Mistake]:
    """The wrong predictions given the highest probability, the most confident first, at most `most` of them."""
    predicted = predictions.predicted
    confidence = predictions.probabilities.max(axis=1)
    wrong = np.flatnonzero(~predictions.correct)
    rows = wrong[np.argsort(-confidence[wrong], kind="stable")][:most]
    names = predictions.classes
    return [
        Mistake(
            row=int(row),
            id=predictions.ids[row].decode(),
            actual=names[predictions.labels[row]],
            predicted=names[predicted[row]],
            probability=float(confidence[row]),
        )
        for row in rows
    ]


def paired_interval(a: Sequence[Predictions], b: Sequence[Predictions], confidence: float) -> Interval:
    """By how much a's accuracy exceeds b's on the same images, each averaged over its seeds.

    One Predictions a seed. The interval is a bootstrap over images, each drawn with all its predictions: it says what
    other images would change, not what other seeds would. Raises RecordError where rows differ.
    """
    if not a or not b or len(a[0]) == 0:
        raise RecordError("nothing to compare", expected="predictions of at least one image on each side")
    for other in [*a, *b]:
        if not np.array_equal(other.ids, a[0].ids) or not np.array_equal(other.labels, a[0].labels):
            raise RecordError("predictions are of different rows", expected="the same ids and labels in the same order")
    # Images that count alike are drawn as one: [n] differences have few distinct values.
    right_a, right_b = (np.sum([one.correct for one in side], axis=0) for side in (a, b))
    gains, counts = np.unique(right_a * len(b) - right_b * len(a), return_counts=True)  # in units of 1 / |a| |b|
    n, unit = len(a[0]), 1 / (len(a) * len(b))
    generator = np.random.default_rng(BOOTSTRAP_SEED)
    drawn = generator.multinomial(n, counts / n, size=PAIRED_RESAMPLES) @ gains * unit / n
    low, high = _bounds(drawn, confidence)
    return Interval(float(counts @ gains) * unit / n, float(low), float(high))
