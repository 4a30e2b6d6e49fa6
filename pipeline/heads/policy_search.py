"""Which policies of augmentation pay: each is tried on few images, by what it does for a head on unseen ones.

A trial draws the policy, featurizes the draws, and solves discriminant analysis on unaugmented and drawn rows
together. A policy pays if it lowers the cross entropy of unaugmented images in folds that were left out, siblings
included. So it shows whether a change keeps the class, as a mirror image of a 5 does not.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from cache.records import UNAUGMENTED, FeatureSet
from pipeline.config.augment import Step
from pipeline.config.search import SearchConfig
from pipeline.heads.blend import fit_blend
from pipeline.heads.families import DISCRIMINANT, SHRINKAGES, FamilySolver
from pipeline.heads.folds import fold_numbers
from pipeline.heads.groups import feature_spaces
from pipeline.heads.sets import Rows, fit_standardizer, in_memory

NOTHING = "nothing"
PARTS = " + "

Draw = Callable[[Sequence[Step], int], list[FeatureSet]]


@dataclass(frozen=True)
class PolicyTrial:
    """Policies, such as `turn_mild + noise_strong`, and what it did on unseen images.

    loss: mean cross entropy. gain: by how much it is below that of no augmentation. error: standard error of the gain,
    over images. accuracy: of the images, between 0 and 1.
    """

    policy: str
    loss: float
    accuracy: float
    gain: float
    error: float

    @property
    def pays(self) -> bool:
        """Whether the gain is more than its standard error."""
        return self.gain > self.error


@dataclass(frozen=True)
class PolicyChoice:
    """trials: all of them, no augmentation first. policies: the steps of those that paid together, by name."""

    trials: list[PolicyTrial]
    best: PolicyTrial
    policies: dict[str, list[Step]]


class PolicySearch:
    """Tries policies on the images of `plain`. draw: gives features of these images under steps, one set per draw."""

    def __init__(self, plain: FeatureSet, draw: Draw, config: SearchConfig) -> None:
        self.config = config
        self.classes = len(plain.classes)
        self.rows = in_memory(plain)
        self.folds = fold_numbers(plain, config.folds, config.seed)
        self.standardizer = fit_standardizer(self.rows)
        self.space = feature_spaces(plain.recipe, int(plain.features.shape[1]))[-1]
        self.steps = {f"{kind}_{name}": steps for kind, own in config.policies.items() for name, steps in own.items()}
        self.kinds = {f"{kind}_{name}": kind for kind, own in config.policies.items() for name in own}
        self.drawn = {
            name: [in_memory(drawn) for drawn in draw(steps, config.draws)] for name, steps in self.steps.items()
        }
        self.losses = self._losses(())  # without augmentation
        self.tried: dict[tuple[str, ...], PolicyTrial] = {}

    def run(self) -> PolicyChoice:
        """Try every policy alone; then add to the best one those of other kinds, as long as that helps."""
        self._trial(())
        paying = [name for name in self.steps if self._trial((name,)).pays]
        chosen: tuple[str, ...] = ()
        while extensions := self._extensions(chosen, paying):
            longer = min(extensions, key=lambda names: self._trial(names).loss)
            if self._trial(longer).loss >= self._trial(chosen).loss:
                break
            chosen = longer
        return PolicyChoice(list(self.tried.values()), self._trial(chosen), {name: self.steps[name] for name in chosen})

    def _extensions(self, chosen: tuple[str, ...], paying: Sequence[str]) -> list[tuple[str, ...]]:
        """The chosen policies and one more of another kind, in the order of the list."""
        taken = {self.kinds[name] for name in chosen}
        more = [name for name in paying if self.kinds[name] not in taken]
        return [tuple(name for name in self.steps if name in (*chosen, extra)) for extra in more]

    def _trial(self, names: tuple[str, ...]) -> PolicyTrial:
        if names not in self.tried:
            losses, right = self._losses(names) if names else self.losses
            gains = self.losses[0] - losses
            error = float(gains.std()) / len(gains) ** 0.5
            label = PARTS.join(names) or NOTHING
            self.tried[names] = PolicyTrial(
                label, float(losses.mean()), float(right.mean()), float(gains.mean()), error
            )
        return self.tried[names]

    def _losses(self, names: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Cross entropy of each image by a head that has seen neither it nor its siblings, and whether it is right."""
        drawn = {f"{name}_{number}": rows for name in names for number, rows in enumerate(self.drawn[name])}
        sets = {UNAUGMENTED: self.rows} | drawn
        standardised = {name: Rows(self.standardizer(own.features), own.labels) for name, own in sets.items()}
        solver = FamilySolver(standardised, self.space, augmented=True, classes=self.classes)
        unseen = self.space(standardised[UNAUGMENTED].features)
        logits = [torch.zeros(len(unseen), self.classes) for _ in SHRINKAGES]
        for fold in range(self.config.folds):
            inside = self.folds == fold
            for own, head in zip(logits, solver.solve(DISCRIMINANT, SHRINKAGES, inside), strict=True):
                own[inside] = unseen[inside] @ head.weight + head.bias
        labels = self.rows.labels
        shares = fit_blend(logits, labels)
        blended = torch.stack([share * own for own, share in zip(logits, shares, strict=True)]).sum(dim=0).double()
        right = (blended.argmax(dim=1) == labels).double()
        return functional.cross_entropy(blended, labels, reduction="none"), right


def changes_of(choice: PolicyChoice, config: SearchConfig, epochs: int = 2) -> dict[str, Any]:
    """What to set in params.yaml, by key: the policies that paid, their draws in turn, and a schedule over them."""
    names = list(choice.policies)
    count = max(config.kept_draws, len(names)) if names else 0
    draws = [(names[place % len(names)], 1 + place // len(names)) for place in range(count)]
    variants = [f"{name}_{draw}" for name, draw in draws]
    phases = [UNAUGMENTED, *variants, *([UNAUGMENTED] if variants else [])]
    policies = {f"augment.policies.{name}": steps for name, steps in choice.policies.items()}
    schedule = [f"{variant} x {epochs}" for variant in phases]
    return {**policies, "augment.variants": variants, "train_head.schedule": schedule}
