"""Many heads trained in one pass over the features, with successive halving between phases."""

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from cache.errors import InputError
from cache.records import UNAUGMENTED, FeatureSet
from pipeline.config.shared.stages import FEATURIZE, SWEEP
from pipeline.config.shared.variants import GAN_PREFIX
from pipeline.config.train_head import TrainHeadConfig
from pipeline.heads.sets import Rows, Standardizer, check_sets, fit_standardizer, in_memory
from pipeline.heads.spec import HeadSpec, weights_of
from pipeline.heads.stack import CELLS, HeadStack, evaluate_stack, head_of, make_head_stack
from pipeline.heads.stack_trainer import StackTrainer, lr_steps
from pipeline.metrics.best_epoch import val_rank
from pipeline.networks.head import Head
from pipeline.runtime.devices import choose_device, tensor_cores
from pipeline.runtime.seeds import derived_seed, torch_seeded
from pipeline.runtime.threads import threads_for


@dataclass(frozen=True)
class Trial:
    """How one head did: its best epoch by val-unaugmented, or by its own fold.

    epochs: how many it was trained for before it was dropped. head: the best epoch's; None if it was dropped.
    """

    spec: HeadSpec
    val_accuracy: float
    val_loss: float
    best_epoch: int
    epochs: int
    head: Head | None

    @property
    def rank(self) -> tuple[float, float]:
        """Sorts the best last; a head that diverged comes first."""
        return val_rank(self.val_accuracy, self.val_loss)


@dataclass(frozen=True)
class SweepData:
    """What heads are trained and evaluated on, in memory.

    held_out: what the best epoch is chosen on; None: the last one is kept. folds: int [n], the fold of each training
    row, then held_out are the training rows themselves.
    """

    rows: Mapping[str, Rows]
    held_out: Rows | None
    folds: Tensor | None
    standardizer: Standardizer
    classes: int

    @property
    def evaluated(self) -> Rows:
        """The held-out rows. Raises InputError if there are none."""
        if self.held_out is None:
            raise InputError("there are no held-out rows", where=f"data/{FEATURIZE}", remedy="Set prepare.val.")
        return self.held_out


def make_sweep_data(
    train: Mapping[str, FeatureSet], val: Mapping[str, FeatureSet], config: TrainHeadConfig, folds: Tensor | None = None
) -> SweepData:
    """Read every variant of the schedule once, to the device. Raises InputError if there is nothing to choose by."""
    schedule = config.schedule
    device = choose_device(config.device)
    check_sets(train, val, schedule)
    if folds is None and UNAUGMENTED not in val:
        remedy = "Set prepare.val, or sweep.folds."
        raise InputError("a sweep chooses on val, and there is none", where=f"data/{FEATURIZE}", remedy=remedy)
    if folds is not None and any(phase.variant.startswith(GAN_PREFIX) for phase in schedule):
        remedy = "Take it out of train_head.schedule: its generator has seen every fold."
        raise InputError("a GAN's variant cannot be cross-validated", where="sweep.folds", remedy=remedy)
    names = sorted({UNAUGMENTED, *(phase.variant for phase in schedule)})
    rows = {variant: in_memory(train[variant], device) for variant in names}
    plain = rows[UNAUGMENTED]
    held_out = plain if folds is not None else in_memory(val[UNAUGMENTED], device)
    placed = None if folds is None else folds.to(device)
    return SweepData(rows, held_out, placed, fit_standardizer(plain), len(train[UNAUGMENTED].classes))


class HeadGroup:
    """Heads of one shape on their way through the schedule, with the weights of each one's best epoch."""

    def __init__(self, specs: Sequence[HeadSpec], data: SweepData, config: TrainHeadConfig) -> None:
        self.stack: HeadStack = make_head_stack(specs, data.standardizer, data.classes, config)
        order = torch.Generator().manual_seed(derived_seed("order", specs[0].seed) % 2**63)
        steps = lr_steps(data.rows, config)
        self.data = data
        self.trainer = StackTrainer(data.rows, data.folds, data.standardizer, config, steps, order)
        self.epochs = 0
        self.best = [average.clone() for average in self.stack.averages]
        self.accuracy = torch.full((len(specs),), -1.0)
        self.loss = torch.full((len(specs),), math.inf)
        self.epoch = torch.zeros(len(specs), dtype=torch.int64)

    def run(self, variant: str) -> dict[str, Tensor]:
        """Train one epoch and keep what got better; train and val loss and accuracy, float [H] each."""
        loss, accuracy = self.trainer.epoch(self.stack, variant)
        curve = {"train_loss": loss.cpu(), "train_accuracy": accuracy.cpu()}
        self.epochs += 1
        if self.data.held_out is None:
            self.best = [average.clone() for average in self.stack.averages]
            self.epoch = torch.full_like(self.epoch, self.epochs)
            return curve
        accuracy, loss = evaluate_stack(self.stack, self.data.held_out, self.data.standardizer, self.data.folds)
        self._keep_better(accuracy, loss)
        return curve | {"val_loss": loss, "val_accuracy": accuracy}

    def _keep_better(self, accuracy: Tensor, loss: Tensor) -> None:
        """Heads whose epoch is better than all before it; an earlier one wins ties."""
        ranks = map(val_rank, accuracy.tolist(), loss.tolist())
        previous = map(val_rank, self.accuracy.tolist(), self.loss.tolist())
        better = torch.tensor([rank > before for rank, before in zip(ranks, previous, strict=True)])
        moved = better.to(self.best[0].device)
        for best, average in zip(self.best, self.stack.averages, strict=True):
            best[moved] = average[moved]
        self.accuracy = torch.where(better, accuracy, self.accuracy)
        self.loss = torch.where(better, loss, self.loss)
        self.epoch = torch.where(better, self.epochs, self.epoch)

    def head(self, place: int) -> Head:
        """The best epoch's head, on the CPU."""
        return head_of(self.best, place, self.data.standardizer)

    def trial(self, place: int, finished: bool) -> Trial:
        """How one head does so far; with its weights if it is finished."""
        accuracy = max(0.0, float(self.accuracy[place]))
        best_epoch = int(self.epoch[place])
        head = self.head(place) if finished else None
        return Trial(self.stack.specs[place], accuracy, float(self.loss[place]), best_epoch, self.epochs, head)

    def select(self, places: list[int]) -> None:
        """Go on with these heads alone."""
        self.stack = self.stack.select(places)
        self.best = [best[places] for best in self.best]
        self.accuracy = self.accuracy[places]
        self.loss = self.loss[places]
        self.epoch = self.epoch[places]


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
    weights = sum(weights_of(spec, len(data.standardizer.mean), data.classes) for spec in specs)
    device = data.standardizer.mean.device
    with torch_seeded(SWEEP, config.seed), tensor_cores(device), threads_for(6.0 * config.batch * weights):
        groups = [HeadGroup(group, data, config) for group in _head_groups(specs, config.batch)]
        done: dict[HeadSpec, Trial] = {}
        for number, phase in enumerate(config.schedule, start=1):
            for group, _ in itertools.product(groups, range(phase.epochs)):
                group.run(phase.variant)
                advance(len(group.stack) * len(data.rows[phase.variant].labels))
            if keep < 1 and number < len(config.schedule):
                groups, dropped = _drop(groups, keep)
                done |= {trial.spec: trial for trial in dropped}
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


def _drop(groups: Sequence[HeadGroup], keep: float) -> tuple[list[HeadGroup], list[Trial]]:
    """Drop the worst of all groups together; the groups that still have heads, and how the dropped ones did."""
    places = [(number, place) for number, group in enumerate(groups) for place in range(len(group.stack))]
    ranked = sorted(places, key=lambda where: groups[where[0]].trial(where[1], False).rank, reverse=True)
    stay = set(ranked[: math.ceil(keep * len(ranked))])
    dropped = [groups[number].trial(place, False) for number, place in places if (number, place) not in stay]
    remaining = []
    for number, group in enumerate(groups):
        kept = [place for place in range(len(group.stack)) if (number, place) in stay]
        if kept:
            group.select(kept)
            remaining.append(group)
    return remaining, dropped


def kept_head(trial: Trial) -> Head:
    """The head of a trial. Raises InputError if it was dropped."""
    if trial.head is None:
        raise InputError("the head was dropped before the end", where=SWEEP)
    return trial.head


def winner(trials: Sequence[Trial]) -> Trial:
    """The best by val. Raises InputError if every head diverged."""
    best = max(trials, key=lambda trial: trial.rank)
    if not math.isfinite(best.val_loss):
        raise InputError("every head diverged", where=SWEEP, remedy="Lower sweep.lr.")
    return best
