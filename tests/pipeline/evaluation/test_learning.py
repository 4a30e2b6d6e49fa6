"""What more photos bring, with standard errors that tell gains from chance."""

import numpy as np
import pytest

from pipeline.evaluation.learning import class_gains, learning_points, paired_gain
from pipeline.heads.cross_validation import CurvePoint


def test_the_error_is_that_of_paired_differences() -> None:
    """By hand: of 8 images 3 are gained and 1 is lost; differences have a mean of 1/4 and a variance of 1/2."""
    before = np.array([0, 0, 0, 1, 1, 1, 0, 0], dtype=bool)
    after = np.array([1, 1, 1, 0, 1, 1, 0, 0], dtype=bool)
    gain, error = paired_gain(before, after)
    assert gain == pytest.approx(0.25)
    assert error == pytest.approx((0.5 / 8) ** 0.5)


@pytest.mark.parametrize("count", [1, 2, 50])
def test_images_that_are_all_alike_are_not_certain(count: int) -> None:
    nothing = np.zeros(count, dtype=bool)
    assert paired_gain(nothing, nothing) == (0.0, 1 / count)
    assert paired_gain(nothing, ~nothing) == (1.0, 1 / count)


def test_the_error_is_as_large_as_the_spread_over_repeated_samples() -> None:
    """Over 2,000 draws of 100 images the errors' mean is the gains' deviation, whose own error is 1.6 %."""
    generator = np.random.default_rng(0)
    draws = [paired_gain(generator.random(100) < 0.6, generator.random(100) < 0.7) for _ in range(2000)]
    gains, errors = np.array(draws).T
    assert errors.mean() == pytest.approx(gains.std(), rel=5 / (2 * 2000) ** 0.5)


def test_points_say_what_they_gained_over_the_one_before() -> None:
    right = [np.arange(40) < count for count in (10, 20, 30)]
    points = learning_points([CurvePoint(5.0 * 2**n, own) for n, own in enumerate(right)], 0.95)
    assert [point.gain for point in points] == [None, 0.25, 0.25]
    assert points[0].error is None and points[2].error == pytest.approx(np.std(right[2] ^ right[1], ddof=1) / 40**0.5)


def test_classes_have_gains_of_their_own_images() -> None:
    labels = np.array([0] * 10 + [1] * 10)
    half = CurvePoint(5, np.array([True] * 5 + [False] * 5 + [True] * 10))
    whole = CurvePoint(10, np.array([True] * 9 + [False] + [True] * 9 + [False]))
    first, second = class_gains([half, whole], labels, ("ant", "bee"))
    assert (first.name, first.images, first.half, first.all) == ("ant", 10, 0.5, 0.9)
    assert first.gain == pytest.approx(0.4) and first.error == pytest.approx((0.24 / 9) ** 0.5)
    assert second.gain == pytest.approx(-0.1) and second.error == pytest.approx(0.1)
    assert class_gains([whole], labels, ("ant", "bee")) == []
