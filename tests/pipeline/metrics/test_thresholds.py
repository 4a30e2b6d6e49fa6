"""Errors above a confidence are counted by hand."""

import numpy as np
import pytest

from pipeline.metrics.thresholds import THRESHOLDS, threshold_error, threshold_errors

CONFIDENCES = [0.95, 0.95, 0.92, 0.91, 0.9, 0.6]
PROBABILITIES = np.array([[p, 1 - p] for p in CONFIDENCES], dtype=np.float64)
LABELS = np.array([0, 0, 0, 1, 0, 1])


def test_a_share_of_those_above_is_wrong() -> None:
    error = threshold_error(PROBABILITIES, LABELS, 0.9)
    assert (error.images, error.above) == (6, 5)
    assert error.wrong == pytest.approx(1 / 5)
    assert error.low < 1 / 5 < error.high
    assert str(error).startswith("of the 6 images of val, 5 (83 %) are above 0.9, and 20.0 % [")


def test_nothing_above_is_unknown_not_perfect() -> None:
    error = threshold_error(PROBABILITIES, LABELS, 0.99)
    assert (error.above, error.low, error.high) == (0, 0.0, 1.0)
    assert str(error) == "no image of val is above 0.99, so its error is not known"


def test_every_usual_threshold_and_nothing_without_images() -> None:
    assert [error.threshold for error in threshold_errors(PROBABILITIES, LABELS)] == list(THRESHOLDS)
    assert threshold_errors(PROBABILITIES[:0], LABELS[:0]) == []
