"""Calibration by hand: bins, their error, and a temperature that finds the one that was put in."""

import numpy as np
import pytest

from cache.errors import RecordError
from pipeline.metrics.calibration import Bin, calibration_error, error_by_chance, fit_temperature, reheated, reliability
from pipeline.metrics.predictions import Predictions

CLASSES = ("a", "b", "c")


def predict(probabilities: np.ndarray, labels: np.ndarray) -> Predictions:
    ids = np.array([f"{row:064x}".encode() for row in range(len(labels))], dtype="S64")
    return Predictions(probabilities.astype(np.float32), labels, ids, CLASSES, "unaugmented")


def draws(count: int, temperature: float) -> tuple[np.ndarray, np.ndarray]:
    """Logits, and labels drawn from their softmax at a temperature."""
    random = np.random.default_rng(3)
    logits = random.normal(0, 3, (count, 3))
    scaled = np.exp(logits / temperature)
    chances = np.cumsum(scaled / scaled.sum(axis=1, keepdims=True), axis=1)
    return logits, (random.random((count, 1)) > chances).sum(axis=1)


def softmax(logits: np.ndarray) -> np.ndarray:
    raised = np.exp(logits - logits.max(axis=1, keepdims=True))
    return raised / raised.sum(axis=1, keepdims=True)


def test_error_is_the_gap_between_confidence_and_accuracy_weighted_by_bins() -> None:
    probabilities = np.array([[0.79, 0.11, 0.1]] * 4 + [[0.25, 0.5, 0.25]] * 2)
    predictions = predict(probabilities, np.array([0, 0, 0, 1, 1, 0]))  # 3 of 4 right at 0.79, 1 of 2 at 0.5
    first, second = reliability(predictions)
    assert (first.count, first.confidence, first.accuracy) == (2, 0.5, 0.5)
    assert second == Bin(11 / 15, 12 / 15, 4, pytest.approx(0.79), 0.75)  # type: ignore[arg-type]
    assert calibration_error(predictions) == pytest.approx(4 / 6 * 0.04, abs=1e-6)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_the_temperature_that_was_put_in_is_found(temperature: float) -> None:
    assert fit_temperature(*draws(20_000, temperature)) == pytest.approx(temperature, rel=0.05)


def test_reheating_reduces_overconfidence_changes_no_prediction_and_can_be_undone() -> None:
    logits, labels = draws(20_000, 3.0)
    overconfident = predict(softmax(logits), labels)
    calibrated = reheated(overconfident, fit_temperature(logits, labels))
    assert calibration_error(overconfident) > 0.1 > 0.02 > calibration_error(calibrated)
    assert np.array_equal(overconfident.predicted, calibrated.predicted)
    np.testing.assert_allclose(
        reheated(reheated(overconfident, 2.0), 0.5).probabilities, overconfident.probabilities, atol=1e-5
    )


@pytest.mark.parametrize("count", [80, 800])
def test_exact_probabilities_have_the_error_by_chance_on_average(count: int) -> None:
    random = np.random.default_rng(5)
    probabilities = softmax(random.normal(0, 3, (count, 3)))
    errors = []
    for _ in range(300):
        labels = (random.random((count, 1)) > probabilities.cumsum(axis=1)).sum(axis=1).clip(0, 2)
        errors.append(calibration_error(predict(probabilities, labels)))
    by_chance = error_by_chance(predict(probabilities, labels))
    assert by_chance == pytest.approx(np.mean(errors), rel=0.08)
    assert by_chance > 0.01


def test_certain_predictions_stay_finite_and_fall_into_the_last_bin() -> None:
    certain = predict(np.eye(3), np.arange(3))
    assert [entry.high for entry in reliability(reheated(certain, 0.5))] == [1.0]
    assert fit_temperature(np.eye(3) * 100, np.arange(3), cautious=False) < 1


@pytest.mark.parametrize("count", [40, 200, 1000])
def test_rows_that_are_all_right_are_as_sure_as_their_number_allows(count: int) -> None:
    labels = np.arange(count) % 5
    logits = np.eye(5)[labels] * 20
    confidence = softmax(logits / fit_temperature(logits, labels))[0].max()
    assert confidence == pytest.approx((count + 1) / (count + 2), abs=0.25 / count)
    bold = softmax(logits / fit_temperature(logits, labels, cautious=False))[0].max()
    assert (1 - bold) < (1 - confidence) / 3


def test_without_rows_there_is_no_error_and_the_temperature_is_1() -> None:
    assert fit_temperature(np.empty((0, 3)), np.empty(0, dtype=int)) == 1.0
    with pytest.raises(RecordError, match="no rows"):
        calibration_error(predict(np.empty((0, 3)), np.empty(0, dtype=int)))
