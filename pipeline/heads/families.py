"""Families of linear heads: a method over a selection of features, fitted on a selection of rows."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from cache.records import UNAUGMENTED
from pipeline.heads.basis import principal_basis
from pipeline.heads.discriminant import Scatter, discriminant_path, scatter_of
from pipeline.heads.groups import FeatureSpace
from pipeline.heads.logistic import TOLERANCE, LinearWeights, logistic_path_in_basis
from pipeline.heads.sets import Rows

LOGISTIC: Final = "logistic regression"
DISCRIMINANT: Final = "discriminant analysis"
STRENGTHS = (10.0, 3.0, 1.0, 0.1, 0.03, 0.01, 0.003, 0.001, 0.0003)
SHRINKAGES = (0.3, 0.1, 0.03, 0.01, 0.003, 0.001)
FOLD_TOLERANCE = 10 * TOLERANCE  # of what only ranks candidates: a tenth of what a fold can tell apart
VALUES = {LOGISTIC: STRENGTHS, DISCRIMINANT: SHRINKAGES}


@dataclass(frozen=True)
class Family:
    """Heads that differ in their strength or shrinkage alone. space: by name. augmented: all variants' rows too."""

    method: str
    space: str
    augmented: bool

    @property
    def values(self) -> tuple[float, ...]:
        """Strengths or shrinkages, strongest first."""
        return VALUES[self.method]

    @property
    def rows(self) -> str:
        """Which rows it is fitted on."""
        return "all variants" if self.augmented else UNAUGMENTED


class FamilySolver:
    """Solves the families of one space and one selection of rows, on all images or on some of them.

    sets: standardised rows by variant. Rows lie in a basis that all solutions share. Of an image that is left out, all
    siblings are left out; a set of other images, a GAN's samples, is always taken whole.
    """

    def __init__(self, sets: Mapping[str, Rows], space: FeatureSpace, augmented: bool, classes: int) -> None:
        kept = list(sets) if augmented else [UNAUGMENTED]
        count = len(sets[UNAUGMENTED].labels)
        selected = [space(sets[variant].features) for variant in kept]
        features = torch.cat(selected) if len(selected) > 1 else selected[0]
        images = [torch.arange(count) if len(sets[name].labels) == count else _nobody(sets[name]) for name in kept]
        self.space = space
        self.classes = classes
        self.labels = torch.cat([sets[variant].labels for variant in kept])
        self.images = torch.cat(images).to(features.device)  # the image that each row shows; -1: none of these
        self.basis = principal_basis(features)  # [k, r]
        self.rows = features @ self.basis  # [n, r]
        self._whole: Scatter | None = None

    def solve(self, method: str, values: Sequence[float], left_out: Tensor | None = None) -> Iterator[LinearWeights]:
        """Heads over the space's features for each value. left_out: bool [images]."""
        chosen = self._chosen(left_out)
        if method == LOGISTIC:
            tolerance = TOLERANCE if left_out is None else FOLD_TOLERANCE
            whole = left_out is None  # then nothing is copied
            own = (self.rows, self.labels) if whole else (self.rows[chosen], self.labels[chosen])
            solutions = logistic_path_in_basis(*own, self.classes, values, tolerance=tolerance)
        else:
            solutions = discriminant_path(self._scatter(chosen), values, len(self.space.columns))
        for solution in solutions:
            yield LinearWeights(self.basis @ solution.weight, solution.bias)

    def _chosen(self, left_out: Tensor | None) -> Tensor:
        """The places of rows whose images are not left out."""
        if left_out is None:
            return torch.arange(len(self.labels), device=self.labels.device)
        outside = ~left_out.to(self.images.device)[self.images.clamp_min(0)] | (self.images < 0)
        return outside.nonzero()[:, 0]

    def _scatter(self, chosen: Tensor) -> Scatter:
        """Of the chosen rows: of all, less those of the others, which are fewer."""
        if self._whole is None:
            self._whole = scatter_of(self.rows, self.labels, self.classes)
        if len(chosen) == len(self.labels):
            return self._whole
        others = torch.ones_like(self.labels, dtype=torch.bool)
        others[chosen] = False
        return self._whole - scatter_of(self.rows[others], self.labels[others], self.classes)


def _nobody(rows: Rows) -> Tensor:
    return torch.full((len(rows.labels),), -1)
