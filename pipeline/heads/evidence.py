"""What candidates are compared on: val if it is large enough, else folds of train, within a budget of arithmetic."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from cache.records import UNAUGMENTED, FeatureSet
from pipeline.config.shared.variants import GAN_PREFIX
from pipeline.config.train_head import TrainHeadConfig
from pipeline.heads.sets import fold_numbers

ENOUGH_VAL = 1000  # images: then the standard error of an accuracy is at most 1.6 points
FOLDS = (5, 3)
RATE = 1e11  # floating-point operations per second that two ordinary cores are taken for
STEPS_PER_STRENGTH = 10  # of the solver, measured


@dataclass(frozen=True)
class Evidence:
    """folds: int [n], a fold for each training row; None: val decides. augmented: whether augmented rows are tried."""

    folds: Tensor | None
    count: int
    augmented: bool

    @property
    def description(self) -> str:
        """Such as `5-fold cross-validation`."""
        return f"{self.count}-fold cross-validation" if self.count else "val"


def plan_evidence(
    train: Mapping[str, FeatureSet], val: Mapping[str, FeatureSet], config: TrainHeadConfig, strengths: int
) -> Evidence | None:
    """The most evidence that the budget allows; None if nothing can be held out."""
    plain = train.get(UNAUGMENTED)
    if plain is None:
        return None
    scheduled = {phase.variant for phase in config.schedule} - {UNAUGMENTED}
    sampled = any(variant.startswith(GAN_PREFIX) for variant in scheduled)
    has_val = len(val.get(UNAUGMENTED, ())) > 0
    smallest = int(np.bincount(plain.labels).min(initial=len(plain), where=np.bincount(plain.labels) > 0))
    counts = [folds for folds in FOLDS if folds <= smallest]
    if smallest >= 2 and not counts:
        counts = [2]
    if has_val and (sampled or len(val[UNAUGMENTED]) >= ENOUGH_VAL or not counts):
        counts = [0]
    if sampled and not has_val:
        return None  # its generator has seen every fold
    if not counts:
        return None
    rows = {True: len(plain) + sum(len(train[variant]) for variant in scheduled), False: len(plain)}
    choices = [(augmented, folds) for augmented in (True, False) for folds in counts]
    fitting = [
        (augmented, folds)
        for augmented, folds in choices
        if linear_work(rows[augmented], plain, strengths) * max(1, folds) <= config.budget * RATE
    ]
    augmented, folds = fitting[0] if fitting else choices[-1]
    return Evidence(fold_numbers(plain, folds, config.seed) if folds else None, folds, augmented and bool(scheduled))


def linear_work(rows: int, plain: FeatureSet, strengths: int) -> float:
    """Floating-point operations of all strengths, solved once."""
    width = int(plain.features.shape[1])
    rank = min(rows, width)
    return 4.0 * rows * rank * (width + STEPS_PER_STRENGTH * strengths * len(plain.classes))
