"""Linear discriminant analysis with a shrunk covariance, along a path of shrinkages, in closed form."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from pipeline.heads.logistic import LinearWeights

ROUNDING = torch.finfo(torch.float32).eps  # of the moments, of which a small covariance is the difference


@dataclass(frozen=True)
class Scatter:
    """All that discriminant analysis needs of rows; what a fold holds is taken away by subtraction.

    moments: sum of x x^T, float32 [d, d]. sums: of each class, float32 [c, d]. counts: of each class, float32 [c].
    """

    moments: Tensor
    sums: Tensor
    counts: Tensor

    def __sub__(self, other: "Scatter") -> "Scatter":
        return Scatter(self.moments - other.moments, self.sums - other.sums, self.counts - other.counts)


def scatter_of(features: Tensor, labels: Tensor, classes: int) -> Scatter:
    """Of features float32 [n, d] and labels int64 [n]."""
    members = functional.one_hot(labels, classes).float()  # [n, c]
    return Scatter(features.T @ features, members.T @ features, members.sum(dim=0))


def discriminant_path(scatter: Scatter, shrinkages: Sequence[float], width: int) -> Iterator[LinearWeights]:
    """For each shrinkage, log posteriors of Gaussian classes of one covariance (Friedman, 1989), up to a constant.

    shrinkage: in (0, 1], the share of the mean variance in the covariance. width: of the features, which is more than d
    if these are in a basis of what they span. A class without rows is never preferred. Equals scikit-learn's
    LinearDiscriminantAnalysis.
    """
    total = scatter.counts.sum()
    means = scatter.sums / scatter.counts.clamp_min(1)[:, None]  # [c, d]
    covariance = (scatter.moments - means.T @ (means * scatter.counts[:, None])) / total
    variance = covariance.diagonal().sum().clamp_min(0) / width
    power = scatter.moments.diagonal().sum() / total
    least = ROUNDING * power.clamp_min(1)  # what rounding may have taken from any direction
    log_priors = (scatter.counts.clamp_min(0.5) / total).log()
    for shrinkage in shrinkages:
        shrunk = (1 - shrinkage) * covariance
        shrunk.diagonal().add_(shrinkage * variance + least)
        weight = torch.cholesky_solve(means.T, torch.linalg.cholesky(shrunk))  # [d, c]
        yield LinearWeights(weight, log_priors - (means * weight.T).sum(dim=1) / 2)
