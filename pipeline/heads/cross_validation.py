"""Predictions for rows by heads that have not seen them, and how they gain from more rows: over cached features."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

from cache.layout import Array
from pipeline.heads.evidence import RATE, STEPS_PER_STRENGTH
from pipeline.heads.folds import deal_folds
from pipeline.heads.logistic import logistic_path
from pipeline.heads.sets import Rows, fit_standardizer
from pipeline.metrics.calibration import fit_temperature

FOLDS = 5
FEW_FOLDS = 3
STRENGTHS = (10.0, 3.0, 1.0, 0.3, 0.1, 0.01)  # of the penalty
FEW_STRENGTHS = (0.1,)
SHARES = (0.125, 0.25, 0.5, 1.0)  # of the rows of each class, for the learning curve
SECONDS = 60.0  # on two ordinary cores, counted in arithmetic


@dataclass(frozen=True)
class CrossValidated:
    """Probabilities float32 [n, c] of every row, by heads that were trained without it, and the penalty's strength."""

    probabilities: Array
    strength: float


@dataclass(frozen=True)
class CurvePoint:
    """Heads trained on a share of the rows: how many per class on average, and which rows they get right, bool [n]."""

    rows_per_class: float
    right: Array


def is_affordable(rows: int, width: int, classes: int, solutions: int) -> bool:
    """Whether so many solutions over so many rows stay within `SECONDS`."""
    work = 4.0 * rows * min(rows, width) * (width + STEPS_PER_STRENGTH * classes)
    return work * solutions <= SECONDS * RATE


def cross_validate(features: Array, labels: Array, classes: int, seed: int) -> CrossValidated | None:
    """Logistic regressions on all rows but those of a fold; the strength that fits unseen rows best.

    features: float [n, d]. labels: int [n]. None if even a few folds are too much work, or fewer than two rows.
    Strengths are compared by their losses at a temperature of their own; the probabilities stay as they are, because a
    strong penalty, which makes them timid, is what finds wrong labels.
    """
    choices = [(FOLDS, STRENGTHS), (FEW_FOLDS, FEW_STRENGTHS)]
    fitting = [
        (count, strengths)
        for count, strengths in choices
        if is_affordable(len(labels), features.shape[1], classes, count * len(strengths))
    ]
    if not fitting or len(labels) < 2:
        return None
    count, strengths = fitting[0]
    folds = deal_folds(labels, count, seed)
    logits = np.zeros((len(strengths), len(labels), classes), dtype=np.float32)
    for fold in range(count):
        outside = folds != fold
        for number, own in enumerate(_solved(features, labels, classes, (outside, ~outside), strengths)):
            logits[number, ~outside] = own
    best = int(np.argmin([_calibrated_loss(own, labels) for own in logits]))
    return CrossValidated(_softmax(logits[best]), strengths[best])


def learning_curve(
    features: Array,
    labels: Array,
    classes: int,
    strength: float,
    seed: int,
    advance: Callable[[int], object] = lambda count: None,
) -> list[CurvePoint]:
    """What heads on an eighth, a quarter, a half and all of the rows outside each fold get right in it.

    Smaller shares are parts of larger ones. Shares of less than one row per class are left out, and all of them if that
    were too much work.
    """
    if not is_affordable(len(labels), features.shape[1], classes, 2 * FEW_FOLDS):
        return []
    folds = deal_folds(labels, FEW_FOLDS, seed)
    ranks = _ranks_in_class(labels, folds)
    present = len(np.unique(labels))
    points = []
    for share in SHARES:
        right = np.zeros(len(labels), dtype=bool)
        trained = 0
        for fold in range(FEW_FOLDS):
            outside = (folds != fold) & (ranks < share)
            inside = folds == fold
            if len(np.unique(labels[outside])) < 2:
                continue
            trained += int(outside.sum())
            logits = next(_solved(features, labels, classes, (outside, inside), (strength,)))
            right[inside] = logits.argmax(axis=1) == labels[inside]
            advance(1)
        if trained >= present * FEW_FOLDS:
            points.append(CurvePoint(trained / FEW_FOLDS / present, right))
    return points


def _ranks_in_class(labels: Array, folds: Array) -> Array:
    """float [n] in 0..1: by which a share of each class in each fold is taken; the first row has 0."""
    ranks = np.zeros(len(labels))
    for label in np.unique(labels):
        for fold in range(FEW_FOLDS):
            members = np.flatnonzero((labels == label) & (folds == fold))
            ranks[members] = np.arange(len(members)) / max(1, len(members))
    return ranks


def _solved(
    features: Array, labels: Array, classes: int, masks: tuple[Array, Array], strengths: Sequence[float]
) -> Iterator[Array]:
    """Logits float32 [k, c] of the rows of the second mask, by heads trained on those of the first."""
    outside, inside = masks
    known = Rows(torch.from_numpy(features[outside]), torch.from_numpy(labels[outside]))
    standardizer = fit_standardizer(known)
    rows = standardizer(known.features)
    unseen = standardizer(torch.from_numpy(features[inside]))
    if not rows.any():  # all rows are alike, so nothing can be told from them
        for _ in strengths:
            yield np.zeros((len(unseen), classes), dtype=np.float32)
        return
    for weights in logistic_path(rows, known.labels, classes, strengths):
        yield (unseen @ weights.weight + weights.bias).numpy()


def _calibrated_loss(logits: Array, labels: Array) -> float:
    """Cross entropy at the temperature that fits best."""
    scaled = torch.from_numpy(logits).double() / fit_temperature(logits, labels, cautious=False)
    return float(functional.cross_entropy(scaled, torch.from_numpy(labels)))


def _softmax(logits: Array) -> Array:
    return torch.softmax(torch.from_numpy(logits).double(), dim=1).float().numpy()
