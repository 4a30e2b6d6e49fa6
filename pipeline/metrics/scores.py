"""Scores of predictions: accuracies with their intervals, scores per class, confused pairs and confident mistakes.

Intervals of accuracies are Wilson's (J. Am. Stat. Assoc. 22, 1927); that of macro F1 comes from a bootstrap over
images with reflected percentiles (Davison and Hinkley 1997, section 5.2).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cache.errors import RecordError
from cache.layout import Array
from pipeline.metrics.calibration import calibration_error
from pipeline.metrics.intervals import Interval, accuracy_interval, macro_f1_interval
from pipeline.metrics.predictions import Predictions


@dataclass(frozen=True)
class ClassScores:
    """One class: how many images it has, and precision, recall and F1 (0 if undefined).

    taken_for: the wrong class that is predicted most often for its images, empty if there is none. share: of the
    class's images that are taken for it.
    """

    name: str
    support: int
    precision: float
    recall: float
    f1: float
    taken_for: str
    share: float


@dataclass(frozen=True)
class Scores:
    """Scores of one variant.

    ece: expected calibration error. confusion: int [c, c], actual by predicted.
    """

    variant: str
    n: int
    top1: Interval
    top5: Interval
    macro_f1: Interval
    ece: float
    per_class: tuple[ClassScores, ...]
    confusion: Array


@dataclass(frozen=True)
class ConfusedPair:
    """Images of `actual` that are predicted as `predicted`: how many, and their share of all images of `actual`."""

    actual: str
    predicted: str
    count: int
    share: float


@dataclass(frozen=True)
class PredictedImage:
    """An image: its row, id and file (empty if unknown), its class, the class predicted, and that one's probability."""

    row: int
    id: str
    path: str
    actual: str
    predicted: str
    probability: float


def evaluate(predictions: Predictions, confidence: float) -> Scores:
    """Every score of one variant. Raises RecordError if there are no rows."""
    from sklearn.metrics import confusion_matrix

    n = len(predictions)
    if n == 0:
        raise RecordError("no rows to evaluate", where=predictions.variant, expected="at least one image")
    confusion = confusion_matrix(predictions.labels, predictions.predicted, labels=np.arange(len(predictions.classes)))
    return Scores(
        variant=predictions.variant,
        n=n,
        top1=accuracy_interval(int(predictions.correct.sum()), n, confidence),
        top5=accuracy_interval(int((predictions.ranks < 5).sum()), n, confidence),
        macro_f1=macro_f1_interval(confusion, confidence),
        ece=calibration_error(predictions),
        per_class=_class_scores(predictions, confusion),
        confusion=confusion,
    )


def _class_scores(predictions: Predictions, confusion: Array) -> tuple[ClassScores, ...]:
    from sklearn.metrics import precision_recall_fscore_support

    numbers = np.arange(len(predictions.classes))
    precision, recall, f1, support = precision_recall_fscore_support(
        predictions.labels, predictions.predicted, labels=numbers, zero_division=0
    )
    names = predictions.classes
    wrong = confusion * (1 - np.eye(len(confusion), dtype=np.int64))
    counts = wrong.max(axis=1)  # [c], of the wrong class that is predicted most often
    worst = wrong.argmax(axis=1)
    return tuple(
        ClassScores(
            name=names[number],
            support=int(support[number]),
            precision=float(precision[number]),
            recall=float(recall[number]),
            f1=float(f1[number]),
            taken_for=names[worst[number]] if counts[number] else "",
            share=float(counts[number] / max(1, support[number])),
        )
        for number in numbers
    )


def size_correlation(scores: Scores, sizes: Sequence[int]) -> float | None:
    """Pearson's, of F1 with the classes' training images [c] (report 004); None if one of them is constant."""
    f1 = np.array([class_scores.f1 for class_scores in scores.per_class])
    if len(f1) < 3 or not np.ptp(sizes) or not np.ptp(f1):
        return None
    return float(np.corrcoef(sizes, f1)[0, 1])


def confused_pairs(scores: Scores, most: int) -> list[ConfusedPair]:
    """The most frequently confused pairs, the worst first, at most `most` of them."""
    wrong = scores.confusion * (1 - np.eye(len(scores.confusion), dtype=np.int64))
    order = np.argsort(-wrong, axis=None, kind="stable")[:most]
    pairs = [divmod(int(place), len(wrong)) for place in order]
    names = [row.name for row in scores.per_class]
    return [
        ConfusedPair(names[actual], names[predicted], int(wrong[actual, predicted]), share)
        for actual, predicted in pairs
        if (share := float(wrong[actual, predicted]) / max(1, scores.per_class[actual].support)) > 0
    ]


def confident_mistakes(predictions: Predictions, most: int) -> list[PredictedImage]:
    """The wrong predictions with the highest probability, the most confident first, at most `most` of them."""
    confidence = predictions.probabilities.max(axis=1)
    wrong = np.flatnonzero(~predictions.correct)
    rows = wrong[np.argsort(-confidence[wrong], kind="stable")][:most]
    return [predicted_image(predictions, int(row)) for row in rows]


def predicted_image(predictions: Predictions, row: int) -> PredictedImage:
    """The image of a row, without its file."""
    probabilities = predictions.probabilities[row]
    predicted = int(probabilities.argmax())
    return PredictedImage(
        row=row,
        id=predictions.ids[row].decode(),
        path="",
        actual=predictions.classes[predictions.labels[row]],
        predicted=predictions.classes[predicted],
        probability=float(probabilities[predicted]),
    )
