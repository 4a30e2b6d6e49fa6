"""A linear head that is solved, not trained: many solutions, blended by what they are worth on unseen rows."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from cache.records import UNAUGMENTED
from pipeline.heads.blend import blended, fit_blend
from pipeline.heads.discriminant import discriminant_path
from pipeline.heads.evidence import Evidence
from pipeline.heads.logistic import LinearWeights, logistic_path
from pipeline.heads.sets import Rows, Standardizer
from pipeline.heads.stack import head_of
from pipeline.networks.head import Head

STRENGTHS = (1.0, 0.1, 0.03, 0.01, 0.003, 0.001, 0.0003)
SHRINKAGES = (0.3, 0.1, 0.03, 0.01, 0.003, 0.001)


@dataclass(frozen=True)
class LinearCandidate:
    """One solution: its method, its strength or shrinkage, and the rows that it was fitted on.

    accuracy, loss: on rows that it has not seen. share: its weight in the blend.
    """

    method: str
    value: float
    rows: str
    accuracy: float
    loss: float
    share: float


@dataclass(frozen=True)
class LinearFit:
    """The blend as one head, the candidates that it is made of, and its logits [n, c] for the rows of the evidence."""

    head: Head
    candidates: list[LinearCandidate]
    logits: Tensor


def fit_linear(
    rows: Mapping[str, Rows], held_out: Rows, standardizer: Standardizer, classes: int, evidence: Evidence
) -> LinearFit:
    """Solve every candidate on all rows, and on all rows but each fold; blend them by unseen rows.

    rows: by variant, those of images in one order. held_out: val, or the unaugmented rows if there are folds.
    """
    sets = {variant: Rows(standardizer(own.features), own.labels) for variant, own in rows.items()}
    unseen = standardizer(held_out.features)
    everything = torch.ones_like(rows[UNAUGMENTED].labels, dtype=torch.bool)
    solutions = list(_solve(sets, everything, classes, evidence.augmented))
    heads = [solution.weights for solution in solutions]
    if evidence.folds is None:
        logits = [_logits(head, unseen) for head in heads]
    else:
        logits = [torch.zeros(len(unseen), classes, device=unseen.device) for _ in heads]
        for fold in range(evidence.count):
            outside = evidence.folds.to(unseen.device) != fold
            for own, solution in zip(logits, _solve(sets, outside, classes, evidence.augmented), strict=True):
                own[~outside] = _logits(solution.weights, unseen[~outside])
    logits = [own.cpu() for own in logits]
    labels = held_out.labels.cpu()
    shares = fit_blend(logits, labels)
    candidates = [
        _candidate(solution, own, labels, share) for solution, own, share in zip(solutions, logits, shares, strict=True)
    ]
    mixed = torch.stack([share * own for own, share in zip(logits, shares, strict=True) if share]).sum(dim=0)
    return LinearFit(_as_head(blended(heads, shares), standardizer), candidates, mixed)


@dataclass(frozen=True)
class _Solution:
    method: str
    value: float
    rows: str
    weights: LinearWeights


def _solve(sets: Mapping[str, Rows], chosen: Tensor, classes: int, augmented: bool) -> Iterator[_Solution]:
    """Every candidate on the chosen images (bool [n]): on unaugmented rows, then on those of all variants too.

    A set of other images than these, a GAN's samples, is taken whole.
    """
    parts = {UNAUGMENTED: [UNAUGMENTED]}
    if augmented:
        parts["all variants"] = list(sets)
    for name, variants in parts.items():
        kept = [_images(sets[variant], chosen) for variant in variants]
        features = torch.cat([rows.features for rows in kept])
        labels = torch.cat([rows.labels for rows in kept])
        for strength, weights in zip(STRENGTHS, logistic_path(features, labels, classes, STRENGTHS), strict=True):
            yield _Solution("logistic regression", strength, name, weights)
        for shrinkage, weights in zip(
            SHRINKAGES, discriminant_path(features, labels, classes, SHRINKAGES), strict=True
        ):
            yield _Solution("discriminant analysis", shrinkage, name, weights)


def _images(rows: Rows, chosen: Tensor) -> Rows:
    return Rows(rows.features[chosen], rows.labels[chosen]) if len(rows.labels) == len(chosen) else rows


def _candidate(solution: _Solution, logits: Tensor, labels: Tensor, share: float) -> LinearCandidate:
    accuracy = float((logits.argmax(dim=1) == labels).double().mean())
    loss = float(functional.cross_entropy(logits.double(), labels))
    return LinearCandidate(solution.method, solution.value, solution.rows, accuracy, loss, share)


def _logits(weights: LinearWeights, features: Tensor) -> Tensor:
    return features @ weights.weight + weights.bias


def _as_head(weights: LinearWeights, standardizer: Standardizer) -> Head:
    return head_of([weights.weight[None], weights.bias[None, None]], 0, standardizer)
