"""Linear heads blended into one, by what each contributes to the likelihood of rows that none of them has seen."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from cache.layout import Array
from pipeline.heads.logistic import LinearWeights

LEAST_SHARE = 1e-4  # below this a head contributes nothing that could be seen
MOST_CELLS = 24_000_000  # heads x rows x classes that are looked at; rows beyond are left out evenly


def fit_blend(logits: Sequence[Tensor], labels: Tensor) -> list[float]:
    """Weights >= 0 of heads, for which the weighted sum of their logits [n, c] has the least mean cross entropy.

    Stacking (Wolpert, 1992; Breiman, 1996) with non-negative weights. Convex, so that there is one answer; the sum
    is calibrated on these rows, as by a temperature. If none beats equal odds, the best one gets a small weight.
    """
    from scipy.optimize import minimize

    every = -(-len(logits) * logits[0].numel() // MOST_CELLS)
    stacked = torch.stack([values[::every].double() for values in logits])  # [k, n, c]
    labels = labels[::every]

    def cross_entropy(shares: Array) -> tuple[float, Array]:
        weights = torch.from_numpy(shares)
        blended = torch.einsum("k,knc->nc", weights, stacked)
        loss = functional.cross_entropy(blended, labels)
        errors = torch.softmax(blended, dim=1)
        errors[torch.arange(len(labels)), labels] -= 1
        gradient = torch.einsum("nc,knc->k", errors, stacked) / len(labels)
        return float(loss), gradient.numpy()

    start = np.full(len(logits), 1 / len(logits))
    bounds = [(0.0, None)] * len(logits)
    result = minimize(cross_entropy, start, jac=True, method="L-BFGS-B", bounds=bounds)
    shares = [float(weight) if weight > LEAST_SHARE else 0.0 for weight in result.x]
    if not any(shares):
        losses = [float(functional.cross_entropy(values, labels)) for values in stacked]
        shares[int(np.argmin(losses))] = 10 * LEAST_SHARE
    return shares


def blended(heads: Sequence[LinearWeights], weights: Sequence[float]) -> LinearWeights:
    """The one linear head whose logits are the weighted sum of theirs."""
    weight = torch.stack([share * head.weight for head, share in zip(heads, weights, strict=True)]).sum(dim=0)
    bias = torch.stack([share * head.bias for head, share in zip(heads, weights, strict=True)]).sum(dim=0)
    return LinearWeights(weight, bias)
