"""Every figure is one that can be worked out by hand, and intervals hold the truth as often as they claim."""

import json
from dataclasses import replace

import numpy as np
import pytest

from cache.errors import RecordError
from pipeline.config.shared.variants import variant_order
from pipeline.evaluation.source_files import SourceFiles
from pipeline.evaluation.tables import error_tables, metrics_json, per_class_csv
from pipeline.metrics.csv_text import to_csv
from pipeline.metrics.intervals import Interval, accuracy_interval, paired_interval
from pipeline.metrics.predictions import Predictions
from pipeline.metrics.scores import (
    ConfusedPair,
    Mistake,
    confident_mistakes,
    confused_pairs,
    evaluate,
    size_correlation,
)

CLASSES = ("a", "b", "c")


def predict(labels: list[int], predicted: list[int], sure: list[float] | None = None) -> Predictions:
    """Predictions that give `sure` (else 0.8) to the predicted class and the rest to the others alike."""
    n, c = len(labels), len(CLASSES)
    confidence = np.array(sure or [0.8] * n, dtype=np.float32)
    probabilities = np.repeat(((1 - confidence) / (c - 1))[:, None], c, axis=1)
    probabilities[np.arange(n), predicted] = confidence
    ids = np.array([f"{row:064x}".encode() for row in range(n)], dtype="S64")
    return Predictions(probabilities.astype(np.float32), np.array(labels), ids, CLASSES, "unaugmented")


#                 actual a a a a b b b c c c
SIX_OF_TEN = predict([0, 0, 0, 0, 1, 1, 1, 2, 2, 2], [0, 0, 0, 1, 1, 1, 0, 2, 0, 0])


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
    perfect, hopeless = evaluate(predict(labels, labels), 0.95), evaluate(predict(labels, [1, 2, 0] * 5), 0.95)
    assert (perfect.top1.value, perfect.top1.high, perfect.macro_f1) == (1.0, 1.0, Interval(1.0, 1.0, 1.0))
    assert perfect.top1.low == pytest.approx(15 / (15 + 1.959964**2), abs=1e-6)
    assert (hopeless.top1.low, hopeless.macro_f1) == (0.0, Interval(0.0, 0.0, 0.0))


def test_macro_f1_interval_holds_the_truth_as_often_as_it_claims(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.metrics.intervals.RESAMPLES", 300)
    generator = np.random.default_rng(3)
    # Of class a 90 % are right, of b 60 %, of c 50 %; errors go to the next class.
    right = np.array([0.9, 0.6, 0.5])
    f1 = [2 * right[k] / (1 + right[k] + 1 - right[k - 1]) for k in range(3)]
    held = 0
    for _ in range(100):
        labels = generator.integers(0, 3, size=120)
        predicted = np.where(generator.random(120) < right[labels], labels, (labels + 1) % 3)
        interval = evaluate(predict(labels.tolist(), predicted.tolist()), 0.9).macro_f1
        held += interval.low <= np.mean(f1) <= interval.high
    assert 82 <= held <= 97  # 90 expected, standard deviation 3


def test_confidence_widens_the_interval() -> None:
    wide, narrow = evaluate(SIX_OF_TEN, 0.99), evaluate(SIX_OF_TEN, 0.8)
    assert wide.top1.low < narrow.top1.low < narrow.top1.high < wide.top1.high
    assert wide.macro_f1.low < narrow.macro_f1.low < narrow.macro_f1.high < wide.macro_f1.high


def test_equal_predictions_get_equal_intervals() -> None:
    assert evaluate(SIX_OF_TEN, 0.95).macro_f1 == evaluate(SIX_OF_TEN, 0.95).macro_f1


def test_nothing_to_evaluate_is_refused() -> None:
    empty = Predictions(np.zeros((0, 3), dtype=np.float32), np.zeros(0, int), np.zeros(0, "S64"), CLASSES, "spatial_1")
    with pytest.raises(RecordError, match="spatial_1: no rows to evaluate"):
        evaluate(empty, 0.95)


def test_a_share_above_one_is_refused() -> None:
    with pytest.raises(RecordError, match="found 4 of 3"):
        accuracy_interval(4, 3, 0.95)


def test_interval_reads_as_a_percentage() -> None:
    assert Interval(0.7191, 0.7061, 0.7314).percent() == "71.9 % [70.6, 73.1]"


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
    found = confident_mistakes(predict([0, 0, 1, 2], [1, 0, 2, 0], [0.5, 0.99, 0.75, 0.5]), 2)
    assert found == [Mistake(2, f"{2:064x}", "", "b", "c", 0.75), Mistake(0, f"{0:064x}", "", "a", "b", 0.5)]


def test_paired_difference_is_averaged_over_seeds() -> None:
    labels = [0, 1, 2, 0]
    all_right, half = predict(labels, labels), predict(labels, [0, 1, 0, 1])
    assert paired_interval([all_right], [half], 0.95).value == 0.5
    assert paired_interval([all_right, half], [half], 0.95).value == 0.25
    assert paired_interval([half], [all_right, half, half], 0.95).value == pytest.approx(-1 / 6)


def test_paired_interval_ignores_what_both_get_wrong() -> None:
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 3, size=1000)
    both = np.where(generator.random(1000) < 0.7, labels, (labels + 1) % 3)
    better = np.where(np.arange(1000) < 40, labels, both)
    gained = int(((better == labels) & (both != labels)).sum())
    interval = paired_interval(
        [predict(labels.tolist(), better.tolist())], [predict(labels.tolist(), both.tolist())], 0.95
    )
    share = gained / 1000
    spread = 1.96 * np.sqrt(share * (1 - share) / 1000)
    assert interval.value == share
    assert interval.low == pytest.approx(share - spread, abs=0.0015)
    assert interval.high == pytest.approx(share + spread, abs=0.0015)
    assert interval.low > 0


def test_pairing_equals_resampling_images_one_by_one() -> None:
    labels = np.arange(300) % 3
    generator = np.random.default_rng(5)
    sides = [[predict(labels.tolist(), generator.integers(0, 3, 300).tolist()) for _ in range(3)] for _ in range(2)]
    gain = np.mean([one.correct for one in sides[0]], axis=0) - np.mean([one.correct for one in sides[1]], axis=0)
    drawn = gain[generator.integers(0, 300, size=(20_000, 300))].mean(axis=1)
    interval = paired_interval(sides[0], sides[1], 0.95)
    assert interval.value == pytest.approx(gain.mean())
    assert (interval.low, interval.high) == pytest.approx(tuple(np.quantile(drawn, [0.025, 0.975])), abs=0.003)


def test_pairing_different_images_is_refused() -> None:
    other = replace(SIX_OF_TEN, ids=SIX_OF_TEN.ids[::-1].copy())
    with pytest.raises(RecordError, match="different rows"):
        paired_interval([SIX_OF_TEN], [other], 0.95)
    with pytest.raises(RecordError, match="nothing to compare"):
        paired_interval([], [SIX_OF_TEN], 0.95)


def test_metrics_have_flat_fixed_names() -> None:
    scores = evaluate(SIX_OF_TEN, 0.95)
    metrics = json.loads(metrics_json({"test": [scores], "attacked": []}, {"calibration": {"temperature": 1.5}}))
    assert metrics["attacked"] == {} and metrics["calibration"] == {"temperature": 1.5}
    figures = metrics["test"]["unaugmented"]
    assert (figures["top1"], figures["n"], figures["ece"]) == (0.6, 10, 0.2)
    assert figures["top1_low"] == pytest.approx(0.312674, abs=1e-6)


def test_csv_tables_have_one_row_a_class_and_an_image() -> None:
    scores = evaluate(SIX_OF_TEN, 0.95)
    assert per_class_csv([scores], [7, 8, 9])["per_class.csv"].splitlines() == [
        "variant,class,support,precision,recall,f1,taken_for,share,train",
        "unaugmented,a,4,0.5,0.75,0.6,b,0.25,7",
        "unaugmented,b,3,0.666667,0.666667,0.666667,a,0.333333,8",
        "unaugmented,c,3,1.0,0.333333,0.5,a,0.666667,9",
    ]
    assert per_class_csv([scores], [])["per_class.csv"].splitlines()[1].endswith(",")


def test_f1_is_correlated_with_the_size_of_classes() -> None:
    scores = evaluate(SIX_OF_TEN, 0.95)  # F1 0.6, 0.667, 0.5
    assert size_correlation(scores, [600, 667, 500]) == pytest.approx(1, abs=1e-4)
    assert size_correlation(scores, [5, 5, 5]) is None


def test_error_tables_have_one_row_an_image_and_the_worst_pairs() -> None:
    scores = evaluate(SIX_OF_TEN, 0.95)
    tables = error_tables([scores], [SIX_OF_TEN], 1, SourceFiles())
    assert tables["confusion.csv"].splitlines()[:5] == ["actual,predicted", "a,a", "a,a", "a,a", "a,b"]
    assert tables["confused.csv"] == "actual,predicted,count,share\nc,a,2,0.666667\n"
    assert tables["mistakes.csv"].splitlines()[1] == f"3,{3:064x},,a,b,0.8"
    assert error_tables([], [], 9, SourceFiles())["confusion.csv"] == "actual,predicted\n"


def test_class_names_with_commas_and_quotes_survive_csv() -> None:
    assert to_csv(("class",), [('sea "gull", herring',)]) == 'class\n"sea ""gull"", herring"\n'


def test_variants_are_ordered_by_policy_and_draw_after_unaugmented() -> None:
    variants = ["spatial_10", "spatial_2", "unaugmented", "color_1"]
    assert sorted(variants, key=variant_order) == ["unaugmented", "color_1", "spatial_2", "spatial_10"]
