"""Calibration of probabilities: expected calibration error, and temperature scaling (Guo et al., ICML 2017)."""

from dataclasses import dataclass, replace

import numpy as np

from cache.errors import RecordError
from cache.layout import Array
from pipeline.metrics.predictions import Predictions

BINS = 15  # as in Guo et al.
COLDEST = 0.02
HOTTEST = 50.0
PRIOR = 1.0  # standard deviation of the logarithm of temperatures, before any row is seen
LEAST = 1e-30  # probability; smaller than what a float32 softmax can tell from 0


@dataclass(frozen=True)
class Bin:
    """Predictions with a confidence (highest probability) above `low` and up to `high`: their count and means."""

    low: float
    high: float
    count: int
    confidence: float
    accuracy: float


def fit_temperature(logits: Array, labels: Array, cautious: bool = True) -> float:
    """The divisor of logits float [n, c] with the least cross entropy, between 0.02 and 50; 1 without rows.

    It changes no prediction, only its confidence. A few rows that are all right, or wrong, would make everything
    certain, or nothing; a wide prior around 1 tempers that. cautious: moreover, each label counts as wrong with the
    probability 1 / (n + 2), as in Platt's scaling (1999, by Laplace's rule of succession). To compare fits, do without.
    """
    from scipy.optimize import minimize_scalar
    from scipy.special import logsumexp

    if not len(labels):
        return 1.0
    exact = np.asarray(logits, dtype=np.float64)
    count, classes = exact.shape
    own = exact[np.arange(count), labels]
    others = (exact.sum(axis=1) - own) / max(1, classes - 1)
    expected = own + (others - own) / (count + 2) * cautious

    def loss_of(log_temperature: float) -> float:
        scale = np.exp(-log_temperature)
        loss = logsumexp(exact * scale, axis=1) - expected * scale
        return float(loss.mean() + (log_temperature / PRIOR) ** 2 / (2 * count))

    best = minimize_scalar(loss_of, bounds=(np.log(COLDEST), np.log(HOTTEST)), method="bounded")
    return float(np.exp(best.x))


def reheated(predictions: Predictions, temperature: float) -> Predictions:
    """The same predictions at another temperature, relative to that of the given ones."""
    logs = np.log(np.maximum(predictions.probabilities.astype(np.float64), LEAST)) / temperature
    raised = np.exp(logs - logs.max(axis=1, keepdims=True))
    return replace(predictions, probabilities=(raised / raised.sum(axis=1, keepdims=True)).astype(np.float32))


def reliability(predictions: Predictions) -> list[Bin]:
    """Fifteen bins of equal width over the confidence, without empty ones."""
    confidence, bin_numbers = _binned(predictions)
    bins = []
    for number in np.unique(bin_numbers).tolist():
        inside = bin_numbers == number
        bins.append(
            Bin(
                low=number / BINS,
                high=(number + 1) / BINS,
                count=int(inside.sum()),
                confidence=float(confidence[inside].mean()),
                accuracy=float(predictions.correct[inside].mean()),
            )
        )
    return bins


def _binned(predictions: Predictions) -> tuple[Array, Array]:
    """Of each row its confidence and the number of its bin."""
    confidence = predictions.probabilities.max(axis=1).astype(np.float64)
    return confidence, np.clip(np.ceil(confidence * BINS).astype(np.int64) - 1, 0, BINS - 1)


def calibration_error(predictions: Predictions) -> float:
    """Expected calibration error, 0 to 1: the gap between confidence and accuracy, averaged over predictions.

    Raises RecordError if there are no rows.
    """
    if not len(predictions):
        raise RecordError("no rows to evaluate", where=predictions.variant, expected="at least one image")
    gaps = sum(entry.count * abs(entry.confidence - entry.accuracy) for entry in reliability(predictions))
    return gaps / len(predictions)


def error_by_chance(predictions: Predictions) -> float:
    """What `calibration_error` would be on average if each confidence were exactly the probability of being right.

    It is not 0, because few rows are right more or less often than that by chance; in each bin by the normal
    approximation.
    """
    confidence, bin_numbers = _binned(predictions)
    variances = np.bincount(bin_numbers, weights=confidence * (1 - confidence))
    return float(np.sqrt(2 / np.pi * variances).sum() / len(predictions))
