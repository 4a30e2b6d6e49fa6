"""Of several learning rates the best one is chosen by short trials; the trials here are a table of losses."""

from collections.abc import Mapping

import pytest
from models import coloured, recipe

from cache.records import ImageSet
from pipeline.config.recipe import Recipe
from pipeline.training.trainer import DivergedError
from pipeline.training.trials import choose_rate, images_trained

TRAIN = {"unaugmented": coloured(48, 1)}


@pytest.mark.parametrize(
    ("losses", "chosen"),
    [
        ({0.1: 3.0, 0.01: 2.0, 1.0: 1.0}, 0.01),  # lower rates first; higher ones only if none of them is better
        ({0.1: 2.0, 0.01: 3.0, 1.0: 1.0}, 1.0),
        ({0.1: 1.0, 0.01: 2.0, 1.0: 2.0}, 0.1),
        ({0.1: None, 0.01: 2.0, 1.0: 1.0}, 0.01),  # the first one diverges
    ],
)
def test_the_rate_with_the_lowest_loss_next_to_the_first_is_chosen(
    losses: dict[float, float | None], chosen: float
) -> None:
    def trial(few: Mapping[str, ImageSet], short: Recipe) -> float:
        loss = losses[short.peak_lr]
        if loss is None:
            raise DivergedError("training diverged", where="training")
        assert len(short.rates) == 1
        return loss

    assert choose_rate(TRAIN, recipe(lr=list(losses), schedule=["unaugmented x 8"]), trial) == chosen


def test_a_trial_sees_a_quarter_of_the_training_at_most() -> None:
    whole = recipe(lr=[0.1, 0.01], schedule=["unaugmented x 2"])
    seen: list[int] = []

    def trial(few: Mapping[str, ImageSet], short: Recipe) -> float:
        seen.append(images_trained(short, few))
        return 1.0

    choose_rate(TRAIN, whole, trial)
    assert len(seen) == 2 and set(seen) == {2 * 48 // 4}
