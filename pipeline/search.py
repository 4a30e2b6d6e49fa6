"""The whole search for a head: the grid, the best one's seeds and folds, what each variant is worth to it, its test."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from cache.errors import InputError
from cache.layout import Array
from cache.records import UNAUGMENTED, FeatureSet
from pipeline.calibration import fit_temperature
from pipeline.config.sweep import SweepConfig
from pipeline.config.train_head import TrainHeadConfig
from pipeline.head import Head, predict_logits
from pipeline.heads import Spec
from pipeline.sweep import Arena, Outcome, fold_numbers, grid, make_arena, repeated, run_pass, subsets, winner


@dataclass(frozen=True)
class Spread:
    """Mean and standard deviation over seeds or folds; how many."""

    mean: float
    deviation: float
    count: int

    def percent(self) -> str:
        """Such as `71.9 ± 0.2 %`."""
        return f"{100 * self.mean:.1f} ± {100 * self.deviation:.1f} %"


@dataclass(frozen=True)
class Worth:
    """By how much a variant raises val accuracy, all else equal, overall and in each class (float [c])."""

    variant: str
    gain: Spread
    by_class: Array


@dataclass(frozen=True)
class Found:
    """heads: the whole grid. best: its winner. head, temperature: the best of its seeds. test is read for them once."""

    heads: list[Outcome]
    best: Spec
    head: Head
    temperature: float
    val: Spread
    test: Spread | None
    folds: Spread | None
    worth: list[Worth]


def search(
    train: Mapping[str, FeatureSet],
    val: Mapping[str, FeatureSet],
    test: FeatureSet | None,
    config: SweepConfig,
    head: TrainHeadConfig,
    advance: Callable[[int], object] = lambda count: None,
) -> Found:
    """Choose on val, then look at test once. Raises InputError, RecordError."""
    plain = train[UNAUGMENTED]
    folds = fold_numbers(plain, config.folds, head.seed) if config.folds else None
    arena = make_arena(train, val, head.schedule)
    heads = run_pass(grid(config, head.seed), arena, head, config.keep, advance)
    spec = winner(heads).spec
    seeds = run_pass(repeated(spec, config.seeds), arena, head, advance=advance)
    across = None
    if folds is not None:
        place = make_arena(train, {}, head.schedule, folds)
        across = run_pass([replace(spec, fold=fold) for fold in range(config.folds)], place, head, advance=advance)
    worth = _worth(spec, arena, config, head, advance) if config.variants != "none" else []
    chosen = _head(winner(seeds))
    logits = predict_logits(chosen, arena.judged_by.features)
    return Found(
        heads=heads,
        best=spec,
        head=chosen,
        temperature=fit_temperature(logits.numpy(), arena.judged_by.labels.numpy()),
        val=spread([one.val_accuracy for one in seeds]),
        test=None if test is None else spread([float(_right(one, test).mean()) for one in seeds]),
        folds=None if across is None else spread([one.val_accuracy for one in across]),
        worth=worth,
    )


def spread(values: Sequence[float] | Array) -> Spread:
    """Of some figures; the deviation of a single one is 0."""
    return Spread(float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else 0.0, len(values))


def _head(outcome: Outcome) -> Head:
    if outcome.head is None:
        raise InputError("the head was dropped before the end", where="sweep")
    return outcome.head


def _right(outcome: Outcome, features: FeatureSet) -> Array:
    """bool [n]: whether the head is right."""
    predicted = predict_logits(_head(outcome), torch.from_numpy(features.features[:])).argmax(dim=1)
    return np.asarray(predicted.numpy() == features.labels)


def _worth(
    spec: Spec, arena: Arena, config: SweepConfig, head: TrainHeadConfig, advance: Callable[[int], object]
) -> list[Worth]:
    """Train the head on every chosen subset of the variants, once a seed, and compare subsets that differ in one."""
    names = sorted({phase.variant for phase in head.schedule} - {UNAUGMENTED})
    chosen = subsets(names, config.variants)
    specs = [replace(one, variants=subset) for subset in chosen for one in repeated(spec, config.seeds)]
    outcomes = iter(run_pass(specs, arena, head, advance=advance))
    scores = {subset: np.stack([_scores(next(outcomes), arena) for _ in range(config.seeds)]) for subset in chosen}
    found = []
    for name in names:
        pairs = [(scores[one], scores[one - {name}]) for one in chosen if name in one and one - {name} in scores]
        gains = np.mean([whole - without for whole, without in pairs], axis=0)  # [seeds, 1 + c]
        found.append(Worth(name, spread(gains[:, 0]), gains[:, 1:].mean(axis=0)))
    return found


def _scores(outcome: Outcome, arena: Arena) -> Array:
    """Accuracy over all rows that judge, then of each class: float [1 + c]."""
    labels = arena.judged_by.labels
    right = (predict_logits(_head(outcome), arena.judged_by.features).argmax(dim=1) == labels).double()
    counts = torch.bincount(labels, minlength=arena.classes).clamp_min(1)
    by_class = torch.bincount(labels, weights=right, minlength=arena.classes) / counts
    return np.asarray(torch.cat([right.mean()[None], by_class]).numpy())
