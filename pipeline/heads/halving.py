"""Which head is best? Grids with successive halving, seeds, folds and variants, each in one pass over the features."""

import itertools
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from cache.errors import InputError
from cache.records import UNAUGMENTED, FeatureSet
from pipeline.config.schedule import GAN
from pipeline.config.sweep import SweepConfig
from pipeline.config.train_head import TrainHeadConfig
from pipeline.heads.fit import Head, Rows, check_sets, in_memory, pace_of, statistics_of
from pipeline.heads.stack import CELLS, Norm, Pass, Spec, head_of, judge, make_stack
from pipeline.runtime.devices import choose_device, tensor_cores
from pipeline.runtime.seeds import torch_seeded


@dataclass(frozen=True)
class Outcome:
    """How one head did: its best epoch by val-unaugmented, or by its own fold.

    epochs: how many it was trained for before it was dropped. head: the best epoch's, None where it was dropped.
    """

    spec: Spec
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
class Arena:
    """What heads are trained on and judged by, in memory. folds: int [n] of the training rows, None: judged by val."""

    rows: Mapping[str, Rows]
    judged_by: Rows
    folds: Tensor | None
    norm: Norm
    classes: int


def make_arena(
    train: Mapping[str, FeatureSet], val: Mapping[str, FeatureSet], config: TrainHeadConfig, folds: Tensor | None = None
) -> Arena:
    """Read every variant of the schedule once, to the device. Raises InputError where there is nothing to choose by."""
    schedule, device = config.schedule, choose_device(config.device)
    check_sets(train, val, schedule)
    if folds is None and UNAUGMENTED not in val:
        remedy = "Set prepare.val, or sweep.folds."
        raise InputError("a sweep chooses on val, and there is none", where="data/featurize", remedy=remedy)
    if folds is not None and any(phase.variant.startswith(GAN) for phase in schedule):
        remedy = "Take it out of train_head.schedule: its generator has seen every fold."
        raise InputError("a GAN's variant cannot be cross-validated", where="sweep.folds", remedy=remedy)
    names = sorted({UNAUGMENTED, *(phase.variant for phase in schedule)})
    rows = {variant: in_memory(train[variant], device) for variant in names}
    plain = rows[UNAUGMENTED]
    norm = Norm(*statistics_of(plain))
    judged_by = plain if folds is not None else in_memory(val[UNAUGMENTED], device)
    return Arena(rows, judged_by, None if folds is None else folds.to(device), norm, len(train[UNAUGMENTED].classes))


class _Lane:
    """Heads of one shape on their way through the schedule, with the weights of each one's best epoch."""

    def __init__(self, specs: Sequence[Spec], arena: Arena, config: TrainHeadConfig) -> None:
        self.stack = make_stack(specs, arena.norm, arena.classes, config)
        with torch_seeded("train_head", specs[0].seed):  # a pass of one head goes through rows as `fit_head` does
            Head([len(arena.norm.mean), *specs[0].hidden, arena.classes], 0.0, 0.0)
            generator = torch.Generator()
            generator.set_state(torch.get_rng_state())
        self.arena = arena
        self.shared = Pass(arena.rows, arena.folds, arena.norm, config, pace_of(arena.rows, config), generator)
        self.epochs = 0
        self.best = [average.clone() for average in self.stack.averages]
        self.accuracy, self.loss = torch.full((len(specs),), -1.0), torch.full((len(specs),), math.inf)
        self.epoch = torch.zeros(len(specs), dtype=torch.int64)

    def run(self, variant: str) -> None:
        """Train one epoch and keep what got better."""
        self.shared.epoch(self.stack, variant)
        self.epochs += 1
        accuracy, loss = judge(self.stack, self.arena.judged_by, self.arena.norm, self.arena.folds)
        better = (accuracy > self.accuracy) | ((accuracy == self.accuracy) & (loss < self.loss))
        better &= loss.isfinite()
        moved = better.to(self.best[0].device)
        for best, average in zip(self.best, self.stack.averages, strict=True):
            best[moved] = average[moved]
        self.accuracy = torch.where(better, accuracy, self.accuracy)
        self.loss = torch.where(better, loss, self.loss)
        self.epoch = torch.where(better, self.epochs, self.epoch)

    def outcome(self, place: int, finished: bool) -> Outcome:
        """Of one head."""
        head = head_of(self.best, place, self.arena.norm) if finished else None
        score = max(0.0, float(self.accuracy[place])), float(self.loss[place]), int(self.epoch[place])
        return Outcome(self.stack.specs[place], *score, self.epochs, head)

    def keep(self, places: list[int]) -> None:
        """Go on with these heads alone."""
        self.stack, self.best = self.stack.select(places), [best[places] for best in self.best]
        self.accuracy, self.loss, self.epoch = (one[places] for one in (self.accuracy, self.loss, self.epoch))


def run_pass(
    specs: Sequence[Spec],
    arena: Arena,
    config: TrainHeadConfig,
    keep: float = 1.0,
    advance: Callable[[int], object] = lambda count: None,
) -> list[Outcome]:
    """Train all heads on the schedule, in the order of specs.

    After each phase but the last only the best share `keep` of them goes on (successive halving, Jamieson and
    Talwalkar, AISTATS 2016). advance is called with the rows that heads have seen. Deterministic.
    """
    with torch_seeded("sweep", config.seed), tensor_cores(arena.norm.mean.device):
        lanes = [_Lane(group, arena, config) for group in _lanes(specs, config.batch)]
        done: dict[Spec, Outcome] = {}
        for number, phase in enumerate(config.schedule, start=1):
            for lane, _ in itertools.product(lanes, range(phase.epochs)):
                lane.run(phase.variant)
                advance(len(lane.stack) * len(arena.rows[phase.variant].labels))
            if keep < 1 and number < len(config.schedule):
                lanes, dropped = _drop(lanes, keep)
                done |= {one.spec: one for one in dropped}
        done |= {
            lane.stack.specs[place]: lane.outcome(place, True) for lane in lanes for place in range(len(lane.stack))
        }
    return [done[spec] for spec in specs]


def _lanes(specs: Sequence[Spec], batch: int) -> list[list[Spec]]:
    """Heads of one shape together, as many at once as keep activations in bounds."""
    lanes: list[list[Spec]] = []
    alike = sorted(specs, key=lambda spec: (spec.hidden, spec.lr, spec.weight_decay))
    for hidden, group in itertools.groupby(alike, key=lambda spec: spec.hidden):
        most = max(1, CELLS // (batch * max(hidden, default=256)))
        members = list(group)
        lanes += [members[start : start + most] for start in range(0, len(members), most)]
    return lanes


def _drop(lanes: Sequence[_Lane], keep: float) -> tuple[list[_Lane], list[Outcome]]:
    """Let the worst go from all lanes together; the lanes that still have heads, and how the others did."""
    places = [(number, place) for number, lane in enumerate(lanes) for place in range(len(lane.stack))]
    ranked = sorted(places, key=lambda where: lanes[where[0]].outcome(where[1], False).rank, reverse=True)
    stay = set(ranked[: math.ceil(keep * len(ranked))])
    dropped = [lanes[number].outcome(place, False) for number, place in places if (number, place) not in stay]
    remaining = []
    for number, lane in enumerate(lanes):
        kept = [place for place in range(len(lane.stack)) if (number, place) in stay]
        if kept:
            lane.keep(kept)
            remaining.append(lane)
    return remaining, dropped


def grid(config: SweepConfig, seed: int) -> list[Spec]:
    """Every combination; a linear head has no layer to drop out."""
    axes = (config.hidden, config.lr, config.weight_decay, config.dropout, config.label_smoothing, config.mixup)
    specs = [
        Spec(tuple(hidden), lr, decay, dropout if hidden else 0.0, smoothing, mixup, seed)
        for hidden, lr, decay, dropout, smoothing, mixup in itertools.product(*axes)
    ]
    return list(dict.fromkeys(specs))


def winner(outcomes: Sequence[Outcome]) -> Outcome:
    """The best by val. Raises InputError where every head diverged."""
    best = max(outcomes, key=lambda one: one.rank)
    if not math.isfinite(best.val_loss):
        raise InputError("every head diverged", where="sweep", remedy="Lower sweep.lr.")
    return best


def kept_head(outcome: Outcome) -> Head:
    """The head of one that was not dropped. Raises InputError where it was."""
    if outcome.head is None:
        raise InputError("the head was dropped before the end", where="sweep")
    return outcome.head


def fold_numbers(train: FeatureSet, folds: int, seed: int) -> Tensor:
    """A fold int [n] for every training row, classes spread evenly; siblings share a row number, and so a fold."""
    from sklearn.model_selection import StratifiedKFold

    found = np.zeros(len(train), dtype=np.int64)
    splits = StratifiedKFold(folds, shuffle=True, random_state=seed % 2**32).split(np.zeros(len(train)), train.labels)
    for number, (_, held_out) in enumerate(splits):
        found[held_out] = number
    return torch.from_numpy(found)


def subsets(variants: Collection[str], how: str) -> list[frozenset[str]]:
    """Which variants to train on: all of them first, then all but one each, and none; or every subset."""
    everything = sorted(set(variants) - {UNAUGMENTED})
    if how == "subsets":
        sizes = range(len(everything), -1, -1)
        return [frozenset(chosen) for size in sizes for chosen in itertools.combinations(everything, size)]
    without = [frozenset(everything) - {variant} for variant in everything]
    return list(dict.fromkeys([frozenset(everything), *without, frozenset()]))


def repeated(spec: Spec, seeds: int) -> list[Spec]:
    """The same head from other initialisations."""
    return [replace(spec, seed=spec.seed + number) for number in range(seeds)]
