"""What each cached variant is worth to a head: the gain or harm on val, overall and in each class."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from cache.layout import Array
from cache.records import UNAUGMENTED, FeatureSet
from pipeline.config.train_head import TrainHeadConfig
from pipeline.heads.fit import predict_logits
from pipeline.heads.halving import Arena, Outcome, kept_head, make_arena, repeated, run_pass, subsets
from pipeline.heads.sample_filter import keep_convincing
from pipeline.heads.stack import Spec
from pipeline.metrics.csv_text import to_csv

TOGETHER = "all together"


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


def worth_of_variants(
    train: Mapping[str, FeatureSet], val: Mapping[str, FeatureSet], config: TrainHeadConfig, seeds: int
) -> list[Worth]:
    """Of every variant in the schedule of a head, left out one at a time; nothing where that cannot be told."""
    scheduled = {phase.variant for phase in config.schedule}
    if not seeds or UNAUGMENTED not in val or scheduled == {UNAUGMENTED} or not scheduled | {UNAUGMENTED} <= set(train):
        return []
    train, _ = keep_convincing(train, val, config)
    spec = Spec(
        tuple(config.hidden), config.lr, config.weight_decay, config.dropout, config.label_smoothing, seed=config.seed
    )
    return measure_worth(spec, make_arena(train, val, config), config, ("leave_one_out", seeds))


def measure_worth(
    spec: Spec,
    arena: Arena,
    config: TrainHeadConfig,
    how: tuple[str, int],
    advance: Callable[[int], object] = lambda count: None,
) -> list[Worth]:
    """Compare heads whose sets of variants differ in one, and last the head of all variants with that of none.

    how: which sets (`leave_one_out` or `subsets`), and how many initialisations of each.
    """
    names = sorted({phase.variant for phase in config.schedule} - {UNAUGMENTED})
    chosen, seeds = subsets(names, how[0]), how[1]
    specs = [replace(one, variants=variants) for variants in chosen for one in repeated(spec, seeds)]
    outcomes = iter(run_pass(specs, arena, config, advance=advance))
    scores = {variants: np.stack([_scores(next(outcomes), arena) for _ in range(seeds)]) for variants in chosen}

    def worth(name: str, without: Sequence[tuple[frozenset[str], frozenset[str]]]) -> Worth:
        gains = np.mean([scores[whole] - scores[less] for whole, less in without], axis=0)  # [seeds, 1 + c]
        return Worth(name, spread(gains[:, 0]), gains[:, 1:].mean(axis=0))

    pairs = {name: [(one, one - {name}) for one in chosen if name in one and one - {name} in scores] for name in names}
    found = [worth(name, each) for name, each in pairs.items()]
    return [*found, worth(TOGETHER, [(chosen[0], frozenset())])] if len(names) > 1 else found


def spread(values: Sequence[float] | Array) -> Spread:
    """Of some figures; the deviation of a single one is 0."""
    return Spread(float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else 0.0, len(values))


def worth_csv(worth: Sequence[Worth], classes: Sequence[str]) -> str:
    """By how much each variant raises val accuracy: over all images, its deviation over seeds, and in each class."""
    rows = [[one.variant, one.gain.mean, one.gain.deviation, *map(float, one.by_class)] for one in worth]
    return to_csv(["variant", "gain", "deviation", *classes], rows)


def _scores(outcome: Outcome, arena: Arena) -> Array:
    """Accuracy over all rows that judge, then of each class: float [1 + c]."""
    labels = arena.judged_by.labels.cpu()
    right = (predict_logits(kept_head(outcome), arena.judged_by.features).argmax(dim=1) == labels).double()
    counts = torch.bincount(labels, minlength=arena.classes).clamp_min(1)
    by_class = torch.bincount(labels, weights=right, minlength=arena.classes) / counts
    return np.asarray(torch.cat([right.mean()[None], by_class]).numpy())
