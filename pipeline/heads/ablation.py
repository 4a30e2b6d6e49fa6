"""What each cached variant is worth to a head: the gain or harm on val, overall and in each class."""

import itertools
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from cache.layout import Array
from cache.records import UNAUGMENTED, FeatureSet
from pipeline.config.train_head import TrainHeadConfig
from pipeline.heads.halving import SweepData, Trial, kept_head, make_sweep_data, run_pass
from pipeline.heads.sample_filter import keep_convincing
from pipeline.heads.stack import HeadSpec
from pipeline.metrics.csv_text import to_csv
from pipeline.metrics.intervals import Spread, spread
from pipeline.networks.head import predict_logits

TOGETHER = "all together"


@dataclass(frozen=True)
class VariantGain:
    """By how much a variant raises val accuracy, all else equal, overall and in each class (float [c])."""

    variant: str
    gain: Spread
    by_class: Array


def ablate_schedule(
    train: Mapping[str, FeatureSet], val: Mapping[str, FeatureSet], config: TrainHeadConfig, seeds: int
) -> list[VariantGain]:
    """Of every variant in the schedule of a head, left out one at a time; nothing where that cannot be told."""
    scheduled = {phase.variant for phase in config.schedule}
    if not seeds or UNAUGMENTED not in val or scheduled == {UNAUGMENTED} or not scheduled | {UNAUGMENTED} <= set(train):
        return []
    train, _ = keep_convincing(train, val, config)
    spec = HeadSpec(
        tuple(config.hidden), config.lr, config.weight_decay, config.dropout, config.label_smoothing, seed=config.seed
    )
    return ablate(spec, make_sweep_data(train, val, config), config, ("leave_one_out", seeds))


def ablate(
    spec: HeadSpec,
    data: SweepData,
    config: TrainHeadConfig,
    how: tuple[str, int],
    advance: Callable[[int], object] = lambda count: None,
) -> list[VariantGain]:
    """Compare heads whose sets of variants differ in one, and last the head of all variants with that of none.

    how: which sets (`leave_one_out` or `subsets`), and how many initialisations of each.
    """
    names = sorted({phase.variant for phase in config.schedule} - {UNAUGMENTED})
    chosen, seeds = subsets(names, how[0]), how[1]
    specs = [replace(one, variants=variants) for variants in chosen for one in repeated(spec, seeds)]
    trials = iter(run_pass(specs, data, config, advance=advance))
    scores = {variants: np.stack([_scores(next(trials), data) for _ in range(seeds)]) for variants in chosen}

    def worth(name: str, without: Sequence[tuple[frozenset[str], frozenset[str]]]) -> VariantGain:
        gains = np.mean([scores[whole] - scores[less] for whole, less in without], axis=0)  # [seeds, 1 + c]
        return VariantGain(name, spread(gains[:, 0]), gains[:, 1:].mean(axis=0))

    pairs = {name: [(one, one - {name}) for one in chosen if name in one and one - {name} in scores] for name in names}
    found = [worth(name, each) for name, each in pairs.items()]
    return [*found, worth(TOGETHER, [(chosen[0], frozenset())])] if len(names) > 1 else found


def variant_gains_csv(gains: Sequence[VariantGain], classes: Sequence[str]) -> str:
    """By how much each variant raises val accuracy: a row over all images, whose class is empty, and one per class.

    The deviation over seeds is that of all images; it is empty for single classes.
    """
    rows: list[tuple[object, ...]] = []
    for variant in gains:
        rows.append((variant.variant, "", variant.gain.mean, variant.gain.deviation))
        rows += [(variant.variant, name, float(gain), "") for name, gain in zip(classes, variant.by_class, strict=True)]
    return to_csv(["variant", "class", "gain", "deviation"], rows)


def _scores(trial: Trial, data: SweepData) -> Array:
    """Accuracy over all rows that judge, then of each class: float [1 + c]."""
    labels = data.judged_by.labels.cpu()
    right = (predict_logits(kept_head(trial), data.judged_by.features).argmax(dim=1) == labels).double()
    counts = torch.bincount(labels, minlength=data.classes).clamp_min(1)
    by_class = torch.bincount(labels, weights=right, minlength=data.classes) / counts
    return np.asarray(torch.cat([right.mean()[None], by_class]).numpy())


def subsets(variants: Collection[str], how: str) -> list[frozenset[str]]:
    """Which variants to train on: all of them first, then all but one each, and none; or every subset."""
    everything = sorted(set(variants) - {UNAUGMENTED})
    if how == "subsets":
        sizes = range(len(everything), -1, -1)
        return [frozenset(chosen) for size in sizes for chosen in itertools.combinations(everything, size)]
    without = [frozenset(everything) - {variant} for variant in everything]
    return list(dict.fromkeys([frozenset(everything), *without, frozenset()]))


def repeated(spec: HeadSpec, seeds: int) -> list[HeadSpec]:
    """The same head from other initialisations."""
    return [replace(spec, seed=spec.seed + number) for number in range(seeds)]
