"""An orthonormal basis of what rows span, in which their features are uncorrelated."""

import torch
from torch import Tensor

LEAST_VARIANCE = 1e-10  # relative to the largest: directions below hold nothing but rounding


def principal_basis(features: Tensor) -> Tensor:
    """A basis [d, r] of the rows [n, d], in which their second moments are diagonal. Needs min(n, d)**3 operations."""
    count, width = features.shape
    if count >= width:
        values, basis = torch.linalg.eigh(features.T @ features)
        spanned: Tensor = basis[:, values > LEAST_VARIANCE * values[-1]]
        return spanned
    exact = features.double()
    values, vectors = torch.linalg.eigh(exact @ exact.T)
    kept = values > LEAST_VARIANCE * values[-1]
    rows: Tensor = exact.T @ (vectors[:, kept] / values[kept].sqrt())
    return rows.float()
