"""Which head is best? Grids with successive halving, seeds, folds and variants, each in one pass over the features."""

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from cache.errors import InputError
from cache.records import UNAUGMENTED, FeatureSet
from pipeline.config.shared.variants import GAN_PREFIX
from pipeline.config.train_head import TrainHeadConfig
from pipeline.heads.fit import Rows, check_sets, in_memory, lr_factors_of, statistics_of
from pipeline.heads.stack import CELLS, HeadSpec, StackTrainer, Standardizer, head_of, judge, make_head_stack
from pipeline.networks.head import Head
from pipeline.runtime.devices import choose_device, tensor_cores
from pipeline.runtime.seeds import torch_seeded


@dataclass(frozen=True)
class Trial:
    """How one head did: its best epoch by val-unaugmented, or by its own fold.

    epochs: how many it was trained for before it was dropped. head: the best epoch's, None where it was dropped.
    """

    spec: HeadSpec
    val_accuracy: float
    val_loss: float
    best_epoch: int
    epochs: int
    head: Head | None

    @property
    def rank(self) -> tuple[bool, float, float]:
        """Sorts the best last; a head that diverged comes first."""
        finite = math.isfinite(self.val_loss)
        return finite, self.val_accuracy, -self.val_loss if finite else 0.0


@dataclass(frozen=True)
class SweepData:
    """What heads are trained on and judged by, in memory. folds: int [n] of the training rows, None: judged by val."""

    rows: Mapping[str, Rows]
    judged_by: Rows
    folds: Tensor | None
    standardizer: Standardizer
    classes: int


def make_sweep_data(
    train: Mapping[str, FeatureSet], val: Mapping[str, FeatureSet], config: TrainHeadConfig, folds: Tensor | None = None
) -> SweepData:
    """Read every variant of the schedule once, to the device. Raises InputError where there is nothing to choose by."""
    schedule, device = config.schedule, choose_device(config.device)
    check_sets(train, val, schedule)
    if folds is None and UNAUGMENTED not in val:
        remedy = "Set prepare.val, or sweep.folds."
        raise InputError("a sweep chooses on val, and there is none", where="data/featurize", remedy=remedy)
    if folds is not None and any(phase.variant.startswith(GAN_PREFIX) for phase in schedule):
        remedy = "Take it out of train_head.schedule: its generator has seen every fold."
        raise InputError("a GAN's variant cannot be cross-validated", where="sweep.folds", remedy=remedy)
    names = sorted({UNAUGMENTED, *(phase.variant for phase in schedule)})
    rows = {variant: in_memory(train[variant], device) for variant in names}
    plain = rows[UNAUGMENTED]
    standardizer = Standardizer(*statistics_of(plain))
    judged_by = plain if folds is not None else in_memory(val[UNAUGMENTED], device)
    return SweepData(
        rows, judged_by, None if folds is None else folds.to(device), standardizer, len(train[UNAUGMENTED].classes)
    )


class _HeadGroup:
    """Heads of one shape on their way through the schedule, with the weights of each one's best epoch."""

    def __init__(self, specs: Sequence[HeadSpec], data: SweepData, config: TrainHeadConfig) -> None:
        self.stack = make_head_stack(specs, data.standardizer, data.classes, config)
        with torch_seeded("train_head", specs[0].seed):  # a pass of one head goes through rows as `fit_head` does
            Head([len(data.standardizer.mean), *specs[0].hidden, data.classes], 0.0, 0.0)
            generator = torch.Generator()
            generator.set_state(torch.get_rng_state())
        self.data = data
        self.shared = StackTrainer(
            data.rows, data.folds, data.standardizer, config, lr_factors_of(data.rows, config), generator
        )
        self.epochs = 0
        self.best = [average.clone() for average in self.stack.averages]
        self.accuracy, self.loss = torch.full((len(specs),), -1.0), torch.full((len(specs),), math.inf)
        self.epoch = torch.zeros(len(specs), dtype=torch.int64)

    def run(self, variant: str) -> None:
        """Train one epoch and keep what got better."""
        self.shared.epoch(self.stack, variant)
        self.epochs += 1
        accuracy, loss = judge(self.stack, self.data.judged_by, self.data.standardizer, self.data.folds)
        better = (accuracy > self.accuracy) | ((accuracy == self.accuracy) & (loss < self.loss))
        better &= loss.isfinite()
        moved = better.to(self.best[0].device)
        for best, average in zip(self.best, self.stack.averages, strict=True):
            best[moved] = average[moved]
        self.accuracy = torch.where(better, accuracy, self.accuracy)
        self.loss = torch.where(better, loss, self.loss)
        self.epoch = torch.where(better, self.epochs, self.epoch)

    def trial(self, place: int, finished: bool) -> Trial:
        """Of one head."""
        head = head_of(self.best, place, self.data.standardizer) if finished else None
        score = max(0.0, float(self.accuracy[place])), float(self.loss[place]), int(self.epoch[place])
        return Trial(self.stack.specs[place], *score, self.epochs, head)

    def keep(self, places: list[int]) -> None:
        """Go on with these heads alone."""
        self.stack, self.best = self.stack.select(places), [best[places] for best in self.best]
        self.accuracy, self.loss, self.epoch = (one[places] for one in (self.accuracy, self.loss, self.epoch))


def run_pass(
    specs: Sequence[HeadSpec],
    data: SweepData,
    config: TrainHeadConfig,
    keep: float = 1.0,
    advance: Callable[[int], object] = lambda count: None,
) -> list[Trial]:
    """Train all heads on the schedule, in the order of specs.

    After each phase but the last only the best share `keep` of them goes on (successive halving, Jamieson and
    Talwalkar, AISTATS 2016). advance is called with the rows that heads have seen. Deterministic.
    """
    with torch_seeded("sweep", config.seed), tensor_cores(data.standardizer.mean.device):
        groups = [_HeadGroup(group, data, config) for group in _head_groups(specs, config.batch)]
        done: dict[HeadSpec, Trial] = {}
        for number, phase in enumerate(config.schedule, start=1):
            for group, _ in itertools.product(groups, range(phase.epochs)):
                group.run(phase.variant)
                advance(len(group.stack) * len(data.rows[phase.variant].labels))
            if keep < 1 and number < len(config.schedule):
                groups, dropped = _drop(groups, keep)
                done |= {one.spec: one for one in dropped}
        done |= {
            group.stack.specs[place]: group.trial(place, True) for group in groups for place in range(len(group.stack))
        }
    return [done[spec] for spec in specs]


def _head_groups(specs: Sequence[HeadSpec], batch: int) -> list[list[HeadSpec]]:
    """Heads of one shape together, as many at once as keep activations in bounds."""
    groups: list[list[HeadSpec]] = []
    alike = sorted(specs, key=lambda spec: (spec.hidden, spec.lr, spec.weight_decay))
    for hidden, group in itertools.groupby(alike, key=lambda spec: spec.hidden):
        most = max(1, CELLS // (batch * max(hidden, default=256)))
        members = list(group)
        groups += [members[start : start + most] for start in range(0, len(members), most)]
    return groups


def _drop(groups: Sequence[_HeadGroup], keep: float) -> tuple[list[_HeadGroup], list[Trial]]:
    """Let the worst go from all lanes together; the lanes that still have heads, and how the others did."""
    places = [(number, place) for number, group in enumerate(groups) for place in range(len(group.stack))]
    ranked = sorted(places, key=lambda where: groups[where[0]].trial(where[1], False).rank, reverse=True)
    stay = set(ranked[: math.ceil(keep * len(ranked))])
    dropped = [groups[number].trial(place, False) for number, place in places if (number, place) not in stay]
    remaining = []
    for number, group in enumerate(groups):
        kept = [place for place in range(len(group.stack)) if (number, place) in stay]
        if kept:
            group.keep(kept)
            remaining.append(group)
    return remaining, dropped


def kept_head(trial: Trial) -> Head:
    """The head of one that was not dropped. Raises InputError where it was."""
    if trial.head is None:
        raise InputError("the head was dropped before the end", where="sweep")
    return trial.head
