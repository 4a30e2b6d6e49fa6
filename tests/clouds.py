"""Features of three classes that a head learns, and does not learn to the end."""

import numpy as np

from cache.records import FeatureSet

CLASSES = ("ant", "bee", "cow")
RECIPE = {"backbone": "mini", "weights": "ab", "mean": [0.5], "std": [0.5], "size": 32, "interpolation": "bicubic"}


def clouds(
    count: int, variant: str = "unaugmented", seed: int = 0, noise: float = 3.0, mislabelled: bool = False
) -> FeatureSet:
    """Three Gaussian clouds in 16 dimensions. Sets of even seeds are of the same images, and so are those of odd ones.

    mislabelled: whether every row lies in the cloud of another class.
    """
    random = np.random.default_rng(seed)
    labels = np.arange(count) % 3
    centres = np.random.default_rng(42).normal(0, 2, (3, 16))
    rows = (centres[(labels + mislabelled) % 3] + random.normal(0, noise, (count, 16))).astype(np.float16)
    ids = np.array([b"%064x" % (10**6 * (seed % 2) + number) for number in range(count)])
    return FeatureSet(rows, labels, ids, CLASSES, variant, "mini", RECIPE)
