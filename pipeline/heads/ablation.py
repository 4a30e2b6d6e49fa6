"""What each cached variant brings to a head: the gain or loss on val, overall and in each class."""

import itertools
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from cache.layout import Array
from cache.records import UNAUGMENTED, FeatureSet
from pipeline.config.shared.variants import TOGETHER
from pipeline.config.train_head import TrainHeadConfig
from pipeline.heads.halving import SweepData, Trial, kept_head, make_sweep_data, run_pass
from pipeline.heads.sample_filter import keep_convincing
from pipeline.heads.spec import HeadSpec, spec_of
from pipeline.metrics.csv_text import to_csv
from pipeline.metrics.intervals import Spread, spread
from pipeline.networks.head import predict_logits


@dataclass(frozen=True)
class VariantGain:
    """By how much a variant raises val accuracy, all else equal, overall and in each class (float [c])."""

    variant: str
    gain: Spread
    by_class: Array


def ablate_schedule(
    train: Mapping[str, FeatureSet], val: Mapping[str, FeatureSet], config: TrainHeadConfig, seeds: int
) -> list[VariantGain]:
    """The gain of every variant in a head's schedule, left out one at a time; empty if val cannot tell.

    Values that the configuration leaves to choice are set by rule.
    """
    scheduled = {phase.variant for phase in config.schedule}
    if not seeds or UNAUGMENTED not in val or scheduled == {UNAUGMENTED} or not scheduled | {UNAUGMENTED} <= set(train):
        return []
    train, _ = keep_convincing(train, val, config)
    data = make_sweep_data(train, val, config)
    spec = spec_of(config, len(data.standardizer.mean))
    return ablate(spec, data, config, subsets(scheduled, "leave_one_out"), seeds)


def ablate(
    spec: HeadSpec,
    data: SweepData,
    config: TrainHeadConfig,
    chosen: Sequence[frozenset[str]],
    seeds: int,
    advance: Callable[[int], object] = lambda count: None,
) -> list[VariantGain]:
    """Compare heads whose sets of variants differ in one; last, the head of all variants with that of none.

    chosen: sets of variants, as `subsets` makes them: all variants first, and no variant among them. seeds: how many
    initialisations of each.
    """
    specs = [replace(seeded, variants=variants) for variants in chosen for seeded in repeated(spec, seeds)]
    trials = iter(run_pass(specs, data, config, advance=advance))
    scores = {variants: np.stack([_scores(next(trials), data) for _ in range(seeds)]) for variants in chosen}
    gains = []
    for name in sorted(chosen[0]):
        pairs = [(whole, whole - {name}) for whole in chosen if name in whole and whole - {name} in scores]
        gains.append(_gain(name, [scores[whole] - scores[less] for whole, less in pairs]))
    if len(gains) > 1:
        gains.append(_gain(TOGETHER, [scores[chosen[0]] - scores[frozenset()]]))
    return gains


def variant_gains_csv(gains: Sequence[VariantGain], classes: Sequence[str]) -> str:
    """By how much each variant raises val accuracy: a row over all images, whose class is empty, and one per class.

    The deviation over seeds is that of all images; it is empty for single classes.
    """
    rows: list[tuple[object, ...]] = []
    for variant in gains:
        rows.append((variant.variant, "", variant.gain.mean, variant.gain.deviation))
        rows += [(variant.variant, name, float(gain), "") for name, gain in zip(classes, variant.by_class, strict=True)]
    return to_csv(["variant", "class", "gain", "deviation"], rows)


def _gain(name: str, differences: Sequence[Array]) -> VariantGain:
    """From differences of scores float [seeds, 1 + c], one per pair of sets."""
    mean = np.mean(differences, axis=0)
    return VariantGain(name, spread(mean[:, 0]), mean[:, 1:].mean(axis=0))


def _scores(trial: Trial, data: SweepData) -> Array:
    """Accuracy over all held-out rows, then of each class: float [1 + c]."""
    held_out = data.evaluated
    labels = held_out.labels.cpu()
    right = (predict_logits(kept_head(trial), held_out.features).argmax(dim=1) == labels).double()
    counts = torch.bincount(labels, minlength=data.classes).clamp_min(1)
    by_class = torch.bincount(labels, weights=right, minlength=data.classes) / counts
    return np.asarray(torch.cat([right.mean()[None], by_class]).numpy())


def subsets(variants: Collection[str], how: str) -> list[frozenset[str]]:
    """Which variants to train on: all of them first, then all but each one, and none; or every subset."""
    everything = sorted(set(variants) - {UNAUGMENTED})
    if how == "subsets":
        sizes = range(len(everything), -1, -1)
        return [frozenset(chosen) for size in sizes for chosen in itertools.combinations(everything, size)]
    without = [frozenset(everything) - {variant} for variant in everything]
    return list(dict.fromkeys([frozenset(everything), *without, frozenset()]))


def repeated(spec: HeadSpec, seeds: int) -> list[HeadSpec]:
    """The same head from several initialisations."""
    return [replace(spec, seed=spec.seed + number) for number in range(seeds)]
