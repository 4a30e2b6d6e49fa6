"""Small sets with exact values, made from a number."""

from collections.abc import Callable

import numpy as np
import pytest

from cache.records import FeatureSet, ImageSet

CLASSES = ("ant", "bee", "cow")


def identity(n: int) -> tuple[np.ndarray, np.ndarray]:
    """labels 0 1 2 0 1 2 ... and ids that spell the row in hexadecimal."""
    return np.arange(n) % 3, np.array([f"{row:064x}".encode() for row in range(n)], dtype="S64")


@pytest.fixture
def make_images() -> Callable[..., ImageSet]:
    def make(n: int = 5, size: int = 4, seed: int = 0) -> ImageSet:
        pixels = np.random.default_rng(seed).integers(0, 256, (n, size, size, 3), dtype=np.uint8)
        return ImageSet(pixels, *identity(n), CLASSES, "spatial_1", {"seed": seed})

    return make


@pytest.fixture
def make_features() -> Callable[..., FeatureSet]:
    def make(n: int = 5, width: int = 7, dtype: str = "float16", seed: int = 0) -> FeatureSet:
        rows = np.random.default_rng(seed).normal(size=(n, width)).astype(dtype)
        return FeatureSet(rows, *identity(n), CLASSES, "unaugmented", "efficientnet-mini", {"seed": seed})

    return make
