"""Linear heads blended into one, by what each contributes to the likelihood of rows that none of them has seen."""

from collections.abc import Hashable, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from cache.layout import Array
from pipeline.heads.logistic import LinearWeights
from pipeline.metrics.calibration import fit_temperature

LEAST_SHARE = 1e-4  # below this a head contributes nothing that could be seen
MOST_CELLS = 24_000_000  # heads x rows x classes that are looked at; rows beyond are left out evenly
CALIBRATION_CELLS = 4_000_000  # likewise, to calibrate each alone
SHRINKAGE = 0.1  # of shares: a few hundred rows cannot tell candidates apart that are nearly alike


def fit_family_blend(logits: Sequence[Tensor], labels: Tensor, families: Sequence[Hashable]) -> list[float]:
    """Weights >= 0 of heads, of which at most one per family is above zero: its best by calibrated cross entropy.

    The best ones are blended by `fit_blend` after calibration, with their weights shrunk, and the sum is calibrated.
    """
    every = -(-len(logits) * logits[0].numel() // CALIBRATION_CELLS)
    few = labels[::every]
    scales = [1 / fit_temperature(values[::every].numpy(), few.numpy(), cautious=False) for values in logits]
    losses = [_loss(scale * values[::every], few) for scale, values in zip(scales, logits, strict=True)]
    best: dict[Hashable, int] = {}
    for place, family in enumerate(families):
        if family not in best or losses[place] < losses[best[family]]:
            best[family] = place
    calibrated = [scales[place] * logits[place] for place in best.values()]
    shares = fit_blend(calibrated, labels, SHRINKAGE)
    blend = torch.stack([share * values for share, values in zip(shares, calibrated, strict=True)]).sum(dim=0)
    scale = 1 / fit_temperature(blend[::every].numpy(), few.numpy(), cautious=False)
    weights = [0.0] * len(logits)
    for share, place in zip(shares, best.values(), strict=True):
        weights[place] = share * scale * scales[place]
    return weights


def fit_blend(logits: Sequence[Tensor], labels: Tensor, shrinkage: float = 0.0) -> list[float]:
    """Weights >= 0 of heads, for which the weighted sum of their logits [n, c] has the least mean cross entropy.

    Stacking (Wolpert, 1992; Breiman, 1996) with non-negative weights. Convex, so that there is one answer; the sum
    is calibrated on these rows, as by a temperature. If none beats equal odds, the best one gets a small weight.
    shrinkage: times the sum of squared weights, is added to the cross entropy.
    """
    from scipy.optimize import minimize

    every = -(-len(logits) * logits[0].numel() // MOST_CELLS)
    stacked = torch.stack([values[::every].double() for values in logits])  # [k, n, c]
    labels = labels[::every]

    def cross_entropy(shares: Array) -> tuple[float, Array]:
        weights = torch.from_numpy(shares)
        blended = torch.einsum("k,knc->nc", weights, stacked)
        loss = functional.cross_entropy(blended, labels) + shrinkage * weights.square().sum()
        errors = torch.softmax(blended, dim=1)
        errors[torch.arange(len(labels)), labels] -= 1
        gradient = torch.einsum("nc,knc->k", errors, stacked) / len(labels) + 2 * shrinkage * weights
        return float(loss), gradient.numpy()

    start = np.full(len(logits), 1 / len(logits))
    bounds = [(0.0, None)] * len(logits)
    result = minimize(cross_entropy, start, jac=True, method="L-BFGS-B", bounds=bounds)
    shares = [float(weight) if weight > LEAST_SHARE else 0.0 for weight in result.x]
    if not any(shares):
        losses = [float(functional.cross_entropy(values, labels)) for values in stacked]
        shares[int(np.argmin(losses))] = 10 * LEAST_SHARE
    return shares


def _loss(logits: Tensor, labels: Tensor) -> float:
    return float(functional.cross_entropy(logits.double(), labels))


def blended(heads: Sequence[LinearWeights], weights: Sequence[float]) -> LinearWeights:
    """The one linear head whose logits are the weighted sum of theirs."""
    weight = torch.stack([share * head.weight for head, share in zip(heads, weights, strict=True)]).sum(dim=0)
    bias = torch.stack([share * head.bias for head, share in zip(heads, weights, strict=True)]).sum(dim=0)
    return LinearWeights(weight, bias)
