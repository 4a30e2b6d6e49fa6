"""Intervals hold the truth as often as they claim, and those of pairs see only what differs."""

from dataclasses import replace

import numpy as np
import pytest
from scored import SIX_OF_TEN, predict

from cache.errors import RecordError
from pipeline.metrics.intervals import Interval, accuracy_interval, paired_interval, spread
from pipeline.metrics.scores import evaluate


def test_a_share_above_one_is_refused() -> None:
    with pytest.raises(RecordError, match="found 4 of 3"):
        accuracy_interval(4, 3, 0.95)


def test_interval_reads_as_a_percentage() -> None:
    assert Interval(0.7191, 0.7061, 0.7314).percent() == "71.9 % [70.6, 73.1]"


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
    wide = evaluate(SIX_OF_TEN, 0.99)
    narrow = evaluate(SIX_OF_TEN, 0.8)
    assert wide.top1.low < narrow.top1.low < narrow.top1.high < wide.top1.high
    assert wide.macro_f1.low < narrow.macro_f1.low < narrow.macro_f1.high < wide.macro_f1.high


def test_equal_predictions_get_equal_intervals() -> None:
    assert evaluate(SIX_OF_TEN, 0.95).macro_f1 == evaluate(SIX_OF_TEN, 0.95).macro_f1


def test_paired_difference_is_averaged_over_seeds() -> None:
    labels = [0, 1, 2, 0]
    all_right = predict(labels, labels)
    half = predict(labels, [0, 1, 0, 1])
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
    gain = np.mean([rows.correct for rows in sides[0]], axis=0) - np.mean([rows.correct for rows in sides[1]], axis=0)
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


def test_spread_of_a_single_value_is_0() -> None:
    assert (spread([0.5]).mean, spread([0.5]).deviation, spread([0.5]).count) == (0.5, 0.0, 1)
    assert spread([0.25, 0.75]).percent() == "50.0 ± 35.4 %"  # sqrt(2 * 0.25 ** 2)
