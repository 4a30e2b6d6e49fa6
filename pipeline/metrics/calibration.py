"""Do probabilities mean what they say? Expected calibration error, and a temperature that mends it (Guo, ICML 2017)."""

from dataclasses import dataclass, replace

import numpy as np

from cache.errors import RecordError
from cache.layout import Array
from pipeline.metrics.predictions import Predictions

BINS = 15  # as in Guo et al.
COLDEST, HOTTEST = 0.02, 50.0
LEAST = 1e-30  # of a probability, below what float32 softmax can tell from 0


@dataclass(frozen=True)
class Bin:
    """Predictions whose confidence (highest probability) lies above `low` and at most at `high`; means over them."""

    low: float
    high: float
    count: int
    confidence: float
    accuracy: float


def fit_temperature(logits: Array, labels: Array) -> float:
    """The temperature that divides logits float [n, c] so that their mean cross entropy is least; 1 without rows.

    It changes no prediction, only how sure each one is. Between 0.02 and 50.
    """
    from scipy.optimize import minimize_scalar
    from scipy.special import logsumexp

    if not len(labels):
        return 1.0
    found = np.asarray(logits, dtype=np.float64)
    own = found[np.arange(len(labels)), labels]

    def cross_entropy(log_temperature: float) -> float:
        scale = np.exp(-log_temperature)
        return float((logsumexp(found * scale, axis=1) - own * scale).mean())

    best = minimize_scalar(cross_entropy, bounds=(np.log(COLDEST), np.log(HOTTEST)), method="bounded")
    return float(np.exp(best.x))


def reheated(predictions: Predictions, temperature: float) -> Predictions:
    """The same predictions at another temperature, relative to the one that they were made at."""
    logs = np.log(np.maximum(predictions.probabilities.astype(np.float64), LEAST)) / temperature
    raised = np.exp(logs - logs.max(axis=1, keepdims=True))
    return replace(predictions, probabilities=(raised / raised.sum(axis=1, keepdims=True)).astype(np.float32))


def reliability(predictions: Predictions) -> list[Bin]:
    """Fifteen bins of equal width over the confidence; empty ones are left out."""
    confidence = predictions.probabilities.max(axis=1).astype(np.float64)
    place = np.clip(np.ceil(confidence * BINS).astype(np.int64) - 1, 0, BINS - 1)
    bins = []
    for number in np.unique(place).tolist():
        inside = place == number
        means = float(confidence[inside].mean()), float(predictions.correct[inside].mean())
        bins.append(Bin(number / BINS, (number + 1) / BINS, int(inside.sum()), *means))
    return bins


def calibration_error(predictions: Predictions) -> float:
    """Expected calibration error: how far confidence and accuracy lie apart, averaged over predictions, 0 to 1."""
    if not len(predictions):
        raise RecordError("no rows to judge", where=predictions.variant, expected="at least one image")
    gaps = sum(one.count * abs(one.confidence - one.accuracy) for one in reliability(predictions))
    return gaps / len(predictions)
