"""What candidates are compared on: val if it is large enough, else folds of train, within a budget of arithmetic."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from cache.records import UNAUGMENTED, FeatureSet
from pipeline.config.shared.variants import GAN_PREFIX
from pipeline.config.train_head import TrainHeadConfig
from pipeline.heads.families import DISCRIMINANT, LOGISTIC, SHRINKAGES, STRENGTHS, Family
from pipeline.heads.folds import fold_numbers
from pipeline.heads.groups import ALL_LAYERS, feature_spaces

ENOUGH_VAL = 1000  # images: then the standard error of an accuracy is at most 1.6 points
FOLDS = (5, 3)
RATE = 1e11  # floating-point operations per second that two ordinary cores are taken for
STEPS_PER_STRENGTH = 10  # of the solver, measured
EIGEN_STEPS = 20  # operations of eigenvectors per rank**3, with the rate that they reach (measured)
NARROW = 40  # classes below which products do not get faster


@dataclass(frozen=True)
class Evidence:
    """folds: int [n], a fold for each training row; None: val decides. families: of linear heads, that are tried."""

    folds: Tensor | None
    count: int
    families: tuple[Family, ...]

    @property
    def description(self) -> str:
        """Such as `5-fold cross-validation`."""
        return f"{self.count}-fold cross-validation" if self.count else "val"


def plan_evidence(
    train: Mapping[str, FeatureSet], val: Mapping[str, FeatureSet], config: TrainHeadConfig
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
    rows = len(plain) + sum(len(train[variant]) for variant in scheduled)
    for folds in counts:
        families = _affordable(plain, rows, folds, config.budget * RATE)
        if families:
            break
    families = families or (Family(LOGISTIC, feature_spaces(plain.recipe, _width(plain))[0].name, augmented=False),)
    return Evidence(fold_numbers(plain, folds, config.seed) if folds else None, folds, families)


def _affordable(plain: FeatureSet, rows: int, folds: int, budget: float) -> tuple[Family, ...]:
    """As many families as the budget allows, the plain ones first; empty if it does not allow the first one.

    rows: of all scheduled variants together.
    """
    spaces = feature_spaces(plain.recipe, _width(plain))
    families: list[Family] = []
    shared: set[tuple[str, bool]] = set()
    for space, augmented, method in _by_priority([space.name for space in spaces], rows > len(plain)):
        width = next(len(own.columns) for own in spaces if own.name == space)
        count = rows if augmented else len(plain)
        work = _solving_work(method, count, min(width, count), len(plain.classes), folds)
        if (space, augmented) not in shared:
            work += _basis_work(count, width)
        if work > budget:
            if not families:
                break
            continue
        budget -= work
        shared.add((space, augmented))
        families.append(Family(method, space, augmented))
    return tuple(sorted(families, key=lambda family: (family.space == ALL_LAYERS, family.augmented)))


def _by_priority(spaces: list[str], augmented: bool) -> list[tuple[str, bool, str]]:
    """Space, whether augmented rows are used, and method: what tells most for its price comes first."""
    methods = (LOGISTIC, DISCRIMINANT)
    order = [(spaces[0], False, LOGISTIC), (spaces[0], False, DISCRIMINANT)]
    order += [(space, rows, DISCRIMINANT) for space in spaces[1:] for rows in (True, False) if augmented or not rows]
    order += [(spaces[0], True, method) for method in methods if augmented]
    order += [(space, rows, LOGISTIC) for space in spaces[1:] for rows in (False, True) if augmented or not rows]
    return order


def _basis_work(rows: int, width: int) -> float:
    """Floating-point operations of a basis and of the rows in it."""
    rank = min(rows, width)
    return 4.0 * rows * rank * width + EIGEN_STEPS * rank**3


def _solving_work(method: str, rows: int, rank: int, classes: int, folds: int) -> float:
    """Floating-point operations of all values of a family on all rows and on all but each fold."""
    if method == LOGISTIC:
        alone = 4.0 * rows * rank * max(classes, NARROW) * STEPS_PER_STRENGTH * len(STRENGTHS)
        return alone * (1 + folds)
    return 4.0 * rows * rank**2 + rank**3 / 3 * len(SHRINKAGES) * (1 + folds)


def _width(features: FeatureSet) -> int:
    return int(features.features.shape[1])
