"""How unlike all known classes an image is: its distance to the nearest class in the features that classify it.

The distance is one minus the cosine to the nearest class mean of standardised features (nearest class mean, Mensink et
al., 2013). The score is the share of known images, unseen in training, that lie nearer: 0.5 is ordinary, and an image
with 0.99 lies farther from every class than 99 % of the photos of the known classes do.
"""

from dataclasses import dataclass

import numpy as np

from cache.layout import Array

LEAST = 1e-6


@dataclass(frozen=True)
class KnownClasses:
    """mean, scale: float32 [d]. centres: float32 [c, d], of length 1. distances: float32 [m], sorted."""

    mean: Array
    scale: Array
    centres: Array
    distances: Array

    def scores(self, features: Array) -> Array:
        """float32 [k] in 0..1 for features float [k, d]."""
        places = np.searchsorted(self.distances, self._distances(features), side="left")
        return (places / max(1, len(self.distances))).astype(np.float32)

    def _distances(self, features: Array) -> Array:
        directions = _directions(features, self.mean, self.scale)
        return np.asarray(1 - (directions @ self.centres.T).max(axis=1, initial=-1.0))


def fit_known_classes(train: Array, labels: Array, unseen: Array | None = None) -> KnownClasses:
    """train: float [n, d], labels: int [n]. unseen: float [m, d], of images that were not trained on.

    Without such images every other training image stands for them, and the others make the means.
    """
    features = train.astype(np.float32)
    if unseen is None or not len(unseen):
        unseen = features[1::2]
        features = features[::2]
        labels = labels[::2]
    mean = features.mean(axis=0)
    scale = 1 / np.maximum(features.std(axis=0), LEAST)
    standardised = (features - mean) * scale
    centres = np.stack([standardised[labels == label].mean(axis=0) for label in np.unique(labels)])
    centres /= np.maximum(np.linalg.norm(centres, axis=1, keepdims=True), LEAST)
    known = KnownClasses(mean, scale, centres.astype(np.float32), np.empty(0, dtype=np.float32))
    distances = np.sort(known._distances(unseen)).astype(np.float32)
    return KnownClasses(known.mean, known.scale, known.centres, distances)


def _directions(features: Array, mean: Array, scale: Array) -> Array:
    standardised = (features.astype(np.float32) - mean) * scale
    lengths = np.maximum(np.linalg.norm(standardised, axis=1, keepdims=True), LEAST)
    return np.asarray(standardised / lengths)
