"""Predictions that can be scored by hand."""

import numpy as np

from pipeline.metrics.predictions import Predictions

CLASSES = ("a", "b", "c")


def predict(labels: list[int], predicted: list[int], sure: list[float] | None = None) -> Predictions:
    """Predictions that give `sure` (else 0.8) to the predicted class and the rest to the others alike."""
    n = len(labels)
    c = len(CLASSES)
    confidence = np.array(sure or [0.8] * n, dtype=np.float32)
    probabilities = np.repeat(((1 - confidence) / (c - 1))[:, None], c, axis=1)
    probabilities[np.arange(n), predicted] = confidence
    ids = np.array([f"{row:064x}".encode() for row in range(n)], dtype="S64")
    return Predictions(probabilities.astype(np.float32), np.array(labels), ids, CLASSES, "unaugmented")


#                 actual a a a a b b b c c c
SIX_OF_TEN = predict([0, 0, 0, 0, 1, 1, 1, 2, 2, 2], [0, 0, 0, 1, 1, 1, 0, 2, 0, 0])
