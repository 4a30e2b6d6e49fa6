"""Which learning rate a recipe is trained with: the best of several after short trials, by the loss on val."""

import functools
from collections.abc import Callable, Mapping, Sized
from dataclasses import replace

import numpy as np

from cache.layout import Array
from cache.records import ImageSet
from pipeline.config.recipe import Recipe
from pipeline.config.shared.schedule import settled
from pipeline.runtime.seeds import make_generator
from pipeline.training.trainer import DivergedError

TRIAL = 1 / 4  # of a training, for a learning rate that may be chosen
TRIAL_IMAGES = 3000  # at most
TRIALS = 3  # how many there are, at most times
BETTER = 0.5  # standard errors of a difference: odds of two to one that it is no chance


def choose_rate(
    train: Mapping[str, ImageSet], recipe: Recipe, trial: Callable[[Mapping[str, ImageSet], Recipe], Array]
) -> float:
    """The first learning rate of the recipe, or another that is better on val after short trials.

    trial: cross entropies [n] of val's images after a training on some images by a recipe; it may raise DivergedError.

    The next lower rate is tried. If it is better, by more than half a standard error of the paired difference, so are
    the ones below it, as long as each is better still; if it is worse by as much, the higher ones. In between, the loss
    hardly depends on the rate. A trial has the whole schedule in short, a quarter at most, its learning rate falling to
    the end; a set that is seen only a few times is thinned out as well.
    """
    epochs = sum(phase.epochs for phase in recipe.schedule)
    part = min(TRIAL, TRIAL_IMAGES / images_trained(recipe.model_copy(update={"lr": recipe.peak_lr}), train))
    phases = [replace(phase, epochs=max(1, int(phase.epochs * part))) for phase in recipe.schedule]
    share = min(1.0, part * epochs / sum(phase.epochs for phase in phases))
    few = {variant: _thinned(images, share) for variant, images in train.items()}

    @functools.cache
    def losses(rate: float) -> Array:
        short = recipe.model_copy(update={"lr": rate, "schedule": phases, "patience": None})
        try:
            return trial(few, short)
        except DivergedError:
            return np.array([np.inf])

    best = recipe.peak_lr
    rates = sorted(recipe.rates)
    first = rates.index(best)
    lower = rates[:first][::-1]
    higher = rates[first + 1 :]
    towards = higher
    if lower and _is_lower(losses(lower[0]), losses(best)):
        towards = lower
    elif lower and not _is_lower(losses(best), losses(lower[0])):
        towards = []
    for rate in towards:
        if not _is_lower(losses(rate), losses(best)):
            break
        best = rate
    return best


def _is_lower(losses: Array, others: Array) -> bool:
    """By the paired difference of cross entropies of the same images."""
    if not (np.isfinite(losses).all() and np.isfinite(others).all()):
        return bool(np.isfinite(losses).all())
    difference = losses - others
    return bool(difference.mean() < -BETTER * difference.std() / np.sqrt(len(difference)))


def _thinned(images: ImageSet, share: float) -> ImageSet:
    if share == 1:
        return images
    order = make_generator("trial", len(images)).permutation(len(images))
    return images.take(np.sort(order[: max(2, round(share * len(images)))]))


def images_trained(recipe: Recipe, sizes: Mapping[str, Sized]) -> int:
    """How many images a training sees, over all epochs and the trials of several learning rates.

    sizes: the sets of train by variant.
    """
    schedule = settled(recipe.schedule, sizes)
    images = sum(phase.epochs * len(sizes.get(phase.variants[0], ())) for phase in schedule)
    return images + (TRIALS * round(min(TRIAL * images, TRIAL_IMAGES)) if len(recipe.rates) > 1 else 0)
