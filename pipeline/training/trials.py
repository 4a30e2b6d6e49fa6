"""Which learning rate a recipe is trained with: the best of several after short trials, by the loss on val."""

import functools
import math
from collections.abc import Callable, Mapping, Sized
from dataclasses import replace

import numpy as np

from cache.records import ImageSet
from pipeline.config.recipe import Recipe
from pipeline.config.shared.schedule import settled
from pipeline.runtime.seeds import make_generator
from pipeline.training.trainer import DivergedError

TRIAL = 1 / 4  # of a training, for a learning rate that may be chosen
TRIAL_IMAGES = 3000  # at most
TRIALS = 3  # how many there are, usually


def choose_rate(
    train: Mapping[str, ImageSet], recipe: Recipe, trial: Callable[[Mapping[str, ImageSet], Recipe], float]
) -> float:
    """The learning rate of the recipe's with the lowest loss on val after a trial: a quarter of the training at most.

    trial: the loss on val at the end of a training on some images by a recipe; it may raise DivergedError.

    The first rate is tried, then the next lower ones as long as they are better, else the next higher ones. A trial has
    the whole schedule in short, its learning rate falling to the end; a set that is seen only a few times is thinned
    out as well.
    """
    epochs = sum(phase.epochs for phase in recipe.schedule)
    part = min(TRIAL, TRIAL_IMAGES / images_trained(recipe.model_copy(update={"lr": recipe.peak_lr}), train))
    phases = [replace(phase, epochs=max(1, int(phase.epochs * part))) for phase in recipe.schedule]
    share = min(1.0, part * epochs / sum(phase.epochs for phase in phases))
    few = {variant: _thinned(images, share) for variant, images in train.items()}

    @functools.cache
    def loss(rate: float) -> float:
        short = recipe.model_copy(update={"lr": rate, "schedule": phases, "patience": None})
        try:
            return trial(few, short)
        except DivergedError:
            return math.inf

    best = recipe.peak_lr
    rates = sorted(recipe.rates)
    first = rates.index(best)
    for direction in (rates[:first][::-1], rates[first + 1 :]):
        for rate in direction:
            if loss(rate) >= loss(best):
                break
            best = rate
        if best != recipe.peak_lr:
            break
    return best


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
