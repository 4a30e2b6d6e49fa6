"""Which learning rate short trials choose."""

from collections.abc import Mapping

import numpy as np
import pytest
from models import coloured

from cache.layout import Array
from cache.records import ImageSet
from pipeline.config.recipe import Recipe, read_recipe
from pipeline.training.trainer import DivergedError
from pipeline.training.trials import choose_rate, images_trained

RATES = [0.01, 0.003, 0.001, 0.03]
NOISE = np.random.default_rng(0).normal(0, 0.01, (4, 100))
NOISE -= NOISE.mean(axis=1, keepdims=True)  # standard error of a difference: about 0.0014


def chosen(means: Mapping[float, float | None]) -> float:
    """The rate that is chosen if a trial's losses on 100 images of val have these means; None: it diverges."""
    recipe = read_recipe("plain", {"lr": RATES, "schedule": ["unaugmented x 8"]})

    def trial(few: Mapping[str, ImageSet], short: Recipe) -> Array:
        mean = means[short.peak_lr]
        if mean is None:
            raise DivergedError("the loss is not finite")
        return mean + NOISE[RATES.index(short.peak_lr)]

    return choose_rate({"unaugmented": coloured(40, 0)}, recipe, trial)


@pytest.mark.parametrize(
    ("means", "rate"),
    [
        ({0.01: 1.0, 0.003: 0.9, 0.001: 0.8}, 0.001),
        ({0.01: 1.0, 0.003: 0.9, 0.001: 0.9}, 0.003),
        ({0.01: 1.0, 0.003: 0.9999}, 0.01),  # a small part of a standard error is chance, and nothing more is tried
        ({0.01: 1.0, 0.003: 1.0001}, 0.01),
        ({0.01: 1.0, 0.003: 1.1, 0.03: 0.9}, 0.03),
        ({0.01: 1.0, 0.003: 1.1, 0.03: None}, 0.01),
        ({0.01: None, 0.003: 1.0, 0.001: None}, 0.003),
    ],
)
def test_another_rate_than_the_first_has_to_be_better_than_by_chance(
    means: dict[float, float | None], rate: float
) -> None:
    assert chosen(means) == rate


def test_a_trial_sees_a_quarter_of_the_training_at_most() -> None:
    seen: list[int] = []

    def trial(few: Mapping[str, ImageSet], short: Recipe) -> Array:
        seen.append(images_trained(short, few))
        return np.ones(10)

    whole = read_recipe("plain", {"lr": [0.1, 0.01], "schedule": ["unaugmented x 2"]})
    choose_rate({"unaugmented": coloured(48, 1)}, whole, trial)
    assert len(seen) == 2 and set(seen) == {2 * 48 // 4}
