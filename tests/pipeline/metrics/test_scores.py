"""Every score is one that can be computed by hand."""

import numpy as np
import pytest
from scored import CLASSES, SIX_OF_TEN, predict

from cache.errors import RecordError
from pipeline.metrics.intervals import Interval
from pipeline.metrics.predictions import Predictions
from pipeline.metrics.scores import (
    ConfusedPair,
    PredictedImage,
    confident_mistakes,
    confused_pairs,
    evaluate,
    size_correlation,
)


def test_accuracies_and_their_wilson_intervals() -> None:
    scores = evaluate(SIX_OF_TEN, 0.95)
    assert (scores.n, scores.variant) == (10, "unaugmented")
    # Wilson at z = 1.959964: (p + z^2/2n +- z sqrt(p(1-p)/n + z^2/4n^2)) / (1 + z^2/n)
    assert scores.top1.value == 0.6
    assert scores.top1.low == pytest.approx(0.312674, abs=1e-6)
    assert scores.top1.high == pytest.approx(0.831820, abs=1e-6)
    assert scores.top5.value == 1.0


def test_scores_per_class() -> None:
    a, b, c = evaluate(SIX_OF_TEN, 0.95).per_class
    assert (a.name, a.support, a.precision, a.recall, a.f1) == ("a", 4, 3 / 6, 3 / 4, 0.6)
    assert (b.name, b.support, b.precision, b.recall, b.f1) == ("b", 3, 2 / 3, 2 / 3, 2 / 3)
    assert (c.name, c.support, c.precision, c.recall, c.f1) == ("c", 3, 1.0, 1 / 3, 0.5)


def test_macro_f1_is_the_mean_over_classes_that_have_images() -> None:
    scores = evaluate(SIX_OF_TEN, 0.95)
    assert scores.macro_f1.value == pytest.approx((0.6 + 2 / 3 + 0.5) / 3)
    assert scores.macro_f1.low < scores.macro_f1.value < scores.macro_f1.high
    without_c = evaluate(predict([0, 0, 1, 1], [0, 0, 1, 2]), 0.95)
    assert without_c.macro_f1.value == pytest.approx((1 + 2 / 3) / 2)


def test_top5_counts_the_five_likeliest() -> None:
    classes = tuple("abcdefg")
    ladder = np.array([[0.22, 0.2, 0.18, 0.16, 0.12, 0.08, 0.04]] * 7, dtype=np.float32)
    seven = Predictions(ladder, np.arange(7), np.array([b"x"] * 7, dtype="S64"), classes, "unaugmented")
    scores = evaluate(seven, 0.95)
    assert (scores.top1.value, scores.top5.value) == (1 / 7, 5 / 7)


def test_a_perfect_and_a_hopeless_classifier_stay_within_0_and_1() -> None:
    labels = [0, 1, 2] * 5
    perfect = evaluate(predict(labels, labels), 0.95)
    hopeless = evaluate(predict(labels, [1, 2, 0] * 5), 0.95)
    assert (perfect.top1.value, perfect.top1.high, perfect.macro_f1) == (1.0, 1.0, Interval(1.0, 1.0, 1.0))
    assert perfect.top1.low == pytest.approx(15 / (15 + 1.959964**2), abs=1e-6)
    assert (hopeless.top1.low, hopeless.macro_f1) == (0.0, Interval(0.0, 0.0, 0.0))


def test_nothing_to_evaluate_is_refused() -> None:
    empty = Predictions(np.zeros((0, 3), dtype=np.float32), np.zeros(0, int), np.zeros(0, "S64"), CLASSES, "spatial_1")
    with pytest.raises(RecordError, match="spatial_1: no rows to evaluate"):
        evaluate(empty, 0.95)


def test_confusion_is_actual_by_predicted_and_its_worst_pairs_come_first() -> None:
    scores = evaluate(SIX_OF_TEN, 0.95)
    assert scores.confusion.tolist() == [[3, 1, 0], [1, 2, 0], [2, 0, 1]]
    assert confused_pairs(scores, 2) == [ConfusedPair("c", "a", 2, 2 / 3), ConfusedPair("a", "b", 1, 1 / 4)]
    assert [(pair.actual, pair.predicted) for pair in confused_pairs(scores, 99)] == [
        ("c", "a"),
        ("a", "b"),
        ("b", "a"),
    ]


def test_mistakes_are_listed_by_confidence_and_right_answers_never() -> None:
    mistakes = confident_mistakes(predict([0, 0, 1, 2], [1, 0, 2, 0], [0.5, 0.99, 0.75, 0.5]), 2)
    assert mistakes == [
        PredictedImage(2, f"{2:064x}", "", "b", "c", 0.75),
        PredictedImage(0, f"{0:064x}", "", "a", "b", 0.5),
    ]


def test_f1_is_correlated_with_the_size_of_classes() -> None:
    scores = evaluate(SIX_OF_TEN, 0.95)  # F1 0.6, 0.667, 0.5
    assert size_correlation(scores, [600, 667, 500]) == pytest.approx(1, abs=1e-4)
    assert size_correlation(scores, [5, 5, 5]) is None
