"""How good GAN samples are, in the space of the cached features."""

import numpy as np

from cache.layout import Array
from cache.records import FeatureSet
from pipeline.metrics.near_duplicates import nearest_rows


def measure_samples(
    samples: FeatureSet, train: FeatureSet, val: FeatureSet | None, near_duplicate: float
) -> dict[str, float]:
    """Fréchet distances (Heusel et al., NeurIPS 2017) of the samples to real images, and cosines of nearest neighbours.

    frechet_train, frechet_val: distance of the samples to train and val. frechet_real: between train and val, which
    samples as good as real images would have; it grows if there are few rows. nearest: mean cosine of a sample to its
    nearest training image. nearest_real: the same for val images; if `nearest` is far above it, the generator copies.
    copies: share of samples with a near duplicate in train.
    """
    _, cosines = nearest_rows(samples.features[:], train.features[:])
    quality = {
        "frechet_train": frechet(samples.features[:], train.features[:]),
        "nearest": float(cosines.mean()),
        "copies": float((cosines >= near_duplicate).mean()),
    }
    if val is not None and len(val) > 1:
        _, real_cosines = nearest_rows(val.features[:], train.features[:])
        quality["frechet_val"] = frechet(samples.features[:], val.features[:])
        quality["frechet_real"] = frechet(train.features[:], val.features[:])
        quality["nearest_real"] = float(real_cosines.mean())
    return quality


def frechet(first: Array, second: Array) -> float:
    """Fréchet distance between the Gaussians of two sets of features [n, d] and [m, d], each of two rows or more."""
    means = []
    covariances = []
    for rows in (first, second):
        exact = rows.astype(np.float64)
        means.append(exact.mean(axis=0))
        covariances.append(np.cov(exact, rowvar=False).reshape(exact.shape[1], -1))
    shared = np.sqrt(np.linalg.eigvals(covariances[0] @ covariances[1]).real.clip(0)).sum()
    distance = ((means[0] - means[1]) ** 2).sum() + np.trace(covariances[0]) + np.trace(covariances[1]) - 2 * shared
    return max(0.0, float(distance))
