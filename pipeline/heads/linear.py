"""A linear head that is solved, not trained: many solutions, blended by what they are worth on unseen rows.

Where features come from several layers, each solution uses those of the last layer or of all; the blend decides.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from cache.records import UNAUGMENTED
from pipeline.heads.blend import blended, fit_family_blend
from pipeline.heads.evidence import Evidence
from pipeline.heads.families import FamilySolver
from pipeline.heads.groups import LAST_LAYER, FeatureSpace
from pipeline.heads.logistic import LinearWeights
from pipeline.heads.sets import Rows, Standardizer
from pipeline.heads.stack import head_of
from pipeline.networks.head import Head

ENOUGH_TO_RACE = 100  # rows of a fold: then the candidates that have no share in its blend are left there


@dataclass(frozen=True)
class LinearCandidate:
    """One solution: its method, its strength or shrinkage, the features it uses and the rows that it was fitted on.

    accuracy, loss: on rows that it has not seen. share: its weight in the blend.
    """

    method: str
    value: float
    features: str
    rows: str
    accuracy: float
    loss: float
    share: float


@dataclass(frozen=True)
class LinearFit:
    """The blend as one head, the candidates that it is made of, and its logits [n, c] for the rows of the evidence.

    last_layer: the blend of the candidates over the last layer alone, a head over its features; None if there are none.
    """

    head: Head
    candidates: list[LinearCandidate]
    logits: Tensor
    last_layer: Head | None


@dataclass(frozen=True)
class LinearTask:
    """What linear heads are fitted on. rows: by variant, those of images in one order.

    held_out: val, or the unaugmented rows if there are folds. spaces: selections of features, the last layer first.
    """

    rows: Mapping[str, Rows]
    held_out: Rows
    standardizer: Standardizer
    classes: int
    spaces: Sequence[FeatureSpace]


def fit_linear(task: LinearTask, evidence: Evidence) -> LinearFit:
    """Solve candidates on all rows, and on all rows but each fold; blend them by unseen rows.

    If a fold is large, all candidates meet on the first one, and only those that its blend uses go on.
    """
    spaces = {space.name: space for space in task.spaces}
    solvers = _make_solvers(task, evidence, spaces)
    contest = _Contest(task, evidence, solvers)
    places = contest.run()
    weights = contest.solve(places, None)
    if evidence.folds is None:
        contest.predict(places, weights, torch.ones_like(task.held_out.labels, dtype=torch.bool))
    shares = dict(zip(places, contest.blend(places), strict=True))
    heads = dict(zip(places, weights, strict=True))
    width = len(task.standardizer.mean)
    restored = [spaces[contest.entries[place][0].space].restore(heads[place], width) for place in places]
    used = [share * contest.logits[place] for place, share in shares.items() if share]
    return LinearFit(
        head=_as_head(blended(restored, list(shares.values())), task.standardizer),
        candidates=[contest.candidate(place, shares.get(place, 0.0)) for place in range(len(contest.entries))],
        logits=torch.stack(used).sum(dim=0),
        last_layer=_last_layer(task, contest, heads) if len(spaces) > 1 else None,
    )


def _make_solvers(
    task: LinearTask, evidence: Evidence, spaces: Mapping[str, FeatureSpace]
) -> dict[tuple[str, bool], FamilySolver]:
    """For each selection of features and rows; what is standardised for them is let go here."""
    kinds = dict.fromkeys((family.space, family.augmented) for family in evidence.families)
    used = list(task.rows) if any(augmented for _, augmented in kinds) else [UNAUGMENTED]
    sets = {name: Rows(task.standardizer(task.rows[name].features), task.rows[name].labels) for name in used}
    return {kind: FamilySolver(sets, spaces[kind[0]], kind[1], task.classes) for kind in kinds}


class _Contest:
    """Every candidate, a family and a value, and its logits [n, c] for unseen rows as far as it got."""

    def __init__(self, task: LinearTask, evidence: Evidence, solvers: Mapping[tuple[str, bool], FamilySolver]) -> None:
        unseen = task.standardizer(task.held_out.features)
        self.entries = [(family, value) for family in evidence.families for value in family.values]
        self.evidence = evidence
        self.solvers = solvers
        self.labels = task.held_out.labels.cpu()
        self.unseen = {space.name: space(unseen) for space in task.spaces}
        self.logits = [torch.zeros(len(self.labels), task.classes) for _ in self.entries]
        self.judged = [torch.ones_like(self.labels, dtype=torch.bool) for _ in self.entries]  # rows with logits

    def run(self) -> list[int]:
        """Predict each fold without it; the places of the candidates that were still in at the end."""
        places = list(range(len(self.entries)))
        folds = self.evidence.folds
        for fold in range(self.evidence.count if folds is not None else 0):
            inside = torch.as_tensor(folds == fold)
            self.predict(places, self.solve(places, inside), inside)
            if fold == 0 and int(inside.sum()) >= ENOUGH_TO_RACE:
                kept = self._survivors(inside)
                for place in set(places) - set(kept):
                    self.judged[place] = inside.cpu()
                places = kept
        return places

    def solve(self, places: Sequence[int], left_out: Tensor | None) -> list[LinearWeights]:
        """These candidates on the images that are not left out, in order."""
        solutions: list[LinearWeights] = []
        for family, group in itertools.groupby((self.entries[place] for place in places), key=lambda entry: entry[0]):
            values = [value for _, value in group]
            solver = self.solvers[(family.space, family.augmented)]
            solutions += solver.solve(family.method, values, left_out)
        return solutions

    def predict(self, places: Sequence[int], heads: Sequence[LinearWeights], inside: Tensor) -> None:
        """Keep the logits of these heads for the unseen rows inside."""
        for place, head in zip(places, heads, strict=True):
            rows = self.unseen[self.entries[place][0].space][inside]
            self.logits[place][inside.cpu()] = (rows @ head.weight + head.bias).cpu()

    def candidate(self, place: int, share: float) -> LinearCandidate:
        """How a candidate did on the rows that it was judged on."""
        family, value = self.entries[place]
        rows = self.judged[place]
        logits = self.logits[place][rows]
        accuracy = float((logits.argmax(dim=1) == self.labels[rows]).double().mean())
        loss = float(functional.cross_entropy(logits.double(), self.labels[rows]))
        return LinearCandidate(family.method, value, family.space, family.rows, accuracy, loss, share)

    def of_last_layer(self, places: Sequence[int]) -> list[int]:
        """Those of these places that use the last layer alone."""
        return [place for place in places if self.entries[place][0].space == LAST_LAYER]

    def blend(self, places: Sequence[int], inside: Tensor | None = None) -> list[float]:
        """Weights of these candidates by what they are worth on unseen rows, or on those inside."""
        rows = torch.ones_like(self.labels, dtype=torch.bool) if inside is None else inside.cpu()
        logits = [self.logits[place][rows] for place in places]
        return fit_family_blend(logits, self.labels[rows], [self.entries[place][0] for place in places])

    def _survivors(self, inside: Tensor) -> list[int]:
        """Those with a weight in the blend of the first fold, or of the last layer's alone, and their neighbours."""
        survivors: set[int] = set()
        for places in (list(range(len(self.entries))), self.of_last_layer(range(len(self.entries)))):
            weights = self.blend(places, inside) if places else []
            survivors |= {place for place, weight in zip(places, weights, strict=True) if weight}
        beside = {place + step for place in survivors for step in (-1, 0, 1)}
        families = {self.entries[place][0] for place in survivors}
        return [place for place, (family, _) in enumerate(self.entries) if place in beside and family in families]


def _last_layer(task: LinearTask, contest: _Contest, heads: Mapping[int, LinearWeights]) -> Head | None:
    """The blend of the last layer's candidates, as a head over its features."""
    places = contest.of_last_layer(list(heads))
    if not places:
        return None
    shares = contest.blend(places)
    columns = next(space.columns for space in task.spaces if space.name == LAST_LAYER)
    mean = task.standardizer.mean
    columns = columns.to(mean.device)
    own = Standardizer(mean[columns], task.standardizer.scale[columns])
    return _as_head(blended([heads[place] for place in places], shares), own)


def _as_head(weights: LinearWeights, standardizer: Standardizer) -> Head:
    return head_of([weights.weight[None], weights.bias[None, None]], 0, standardizer)
