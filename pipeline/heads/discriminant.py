"""Linear discriminant analysis with a shrunk covariance, along a path of shrinkages, in closed form."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from pipeline.heads.logistic import LinearWeights


def discriminant_path(
    features: Tensor, labels: Tensor, classes: int, shrinkages: Sequence[float]
) -> Iterator[LinearWeights]:
    """For each shrinkage, log posteriors of Gaussian classes of one covariance (Friedman, 1989), up to a constant.

    features: float32 [n, d]. labels: int64 [n]. shrinkage: in (0, 1], the share of the mean variance in the
    covariance. A class without rows is never preferred. Equals scikit-learn's LinearDiscriminantAnalysis.
    """
    members = functional.one_hot(labels, classes).float()  # [n, c]
    counts = members.sum(dim=0)
    means = members.T @ features / counts.clamp_min(1)[:, None]  # [c, d]
    within = features - means[labels]
    values, basis = torch.linalg.eigh(within.T @ within / len(labels))
    values = values.clamp_min(0)
    rotated = means @ basis
    log_priors = (counts.clamp_min(0.5) / len(labels)).log()
    for shrinkage in shrinkages:
        shrunk = (1 - shrinkage) * values + shrinkage * values.mean().clamp_min(1e-12)
        whitened = rotated / shrunk  # [c, d]
        yield LinearWeights((whitened @ basis.T).T, log_priors - (whitened * rotated).sum(dim=1) / 2)
