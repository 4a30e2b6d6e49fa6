"""Noise from a pool: normal, and independent between pixels and between images."""

import numpy as np
import pytest
from scipy.stats import kstest

from pipeline.augmentation.noise import added, normal
from pipeline.runtime.seeds import make_generator

SHAPE = (64, 64, 3)
COUNT = 64 * 64 * 3


def fields(count: int, scale: float = 20.0) -> np.ndarray:
    """float [count, 12288]: the noise of so many images."""
    drawn = [normal(make_generator(0, "noise", number), SHAPE, 0.0, scale) for number in range(count)]
    return np.stack(drawn).reshape(count, -1).astype(float)


def test_numbers_are_normal_up_to_their_tails() -> None:
    """Whole numbers smear over half a number either way; 1.2 million values, in a test at one in a thousand."""
    values = fields(100) + np.random.default_rng(0).uniform(-0.5, 0.5, (100, COUNT))
    assert kstest(values.ravel() / np.hypot(20, 1 / 12**0.5), "norm").pvalue > 0.001
    assert 4.4 < np.abs(values).max() / 20 < 6  # of a million


def test_pixels_of_an_image_are_independent() -> None:
    """Correlations at all small lags and at rows' and channels': each within 4.5 of its deviations."""
    values = fields(60)
    for lag in (1, 2, 3, 4, 6, 189, 192, 195, 384, COUNT // 2):
        products = values[:, lag:] * values[:, :-lag]
        deviation = 20**2 / np.sqrt(products.size)
        assert abs(products.mean()) < 4.5 * deviation, lag


def test_images_are_independent_at_each_pixel() -> None:
    """79,800 pairs of 400 images: their largest correlation is that of as many independent ones."""
    values = fields(400) / 20
    correlations = (values @ values.T / COUNT)[np.triu_indices(400, 1)] * np.sqrt(COUNT)
    assert np.abs(correlations).max() < 5.5
    assert correlations.std() == pytest.approx(1, abs=0.05)


def test_values_are_cut_off_as_imgaug_does() -> None:
    pixels = np.full((4, 4, 3), 250, dtype=np.uint8)
    assert (added(pixels, np.full((4, 4, 1), 9, dtype=np.int16)) == 255).all()
    assert (added(pixels, np.full((4, 4, 3), -255, dtype=np.int16)) == 0).all()
    assert np.abs(normal(make_generator(0), SHAPE, 0.0, 300.0)).max() == 255


def test_large_images_are_drawn_without_the_pool() -> None:
    noise = normal(make_generator(1), (900, 900, 3), 2.0, 5.0)
    assert noise.mean() == pytest.approx(2, abs=0.05) and noise.std() == pytest.approx(5, abs=0.05)
