"""The search of `sweep`: a grid of heads, seeds and folds of the best one, what each variant brings it, its test."""

import itertools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch

from cache.layout import Array
from cache.records import UNAUGMENTED, FeatureSet
from pipeline.config.sweep import SweepConfig
from pipeline.config.train_head import TrainHeadConfig
from pipeline.heads.ablation import VariantGain, ablate, repeated, subsets
from pipeline.heads.folds import fold_numbers
from pipeline.heads.halving import Trial, kept_head, make_sweep_data, run_pass, winner
from pipeline.heads.spec import HeadSpec
from pipeline.metrics.calibration import fit_temperature
from pipeline.metrics.intervals import Spread, spread
from pipeline.networks.head import Head, predict_logits


@dataclass(frozen=True)
class SearchResult:
    """heads: the whole grid. best: its winner. head, temperature: the best of its seeds. test is read for them once."""

    heads: list[Trial]
    best: HeadSpec
    head: Head
    temperature: float
    val: Spread
    test: Spread | None
    folds: Spread | None
    gains: list[VariantGain]


def search(
    train: Mapping[str, FeatureSet],
    val: Mapping[str, FeatureSet],
    test: FeatureSet | None,
    config: SweepConfig,
    head: TrainHeadConfig,
    advance: Callable[[int], object] = lambda count: None,
) -> SearchResult:
    """Choose on val, then look at test once. Raises InputError, RecordError."""
    plain = train[UNAUGMENTED]
    folds = fold_numbers(plain, config.folds, head.seed) if config.folds else None
    data = make_sweep_data(train, val, head)
    heads = run_pass(grid(config, head.seed), data, head, config.keep, advance)
    spec = winner(heads).spec
    seeds = run_pass(repeated(spec, config.seeds), data, head, advance=advance)
    across = None
    if folds is not None:
        place = make_sweep_data(train, {}, head, folds)
        across = run_pass([replace(spec, fold=fold) for fold in range(config.folds)], place, head, advance=advance)
    gains = []
    if config.variants != "none":
        chosen_sets = subsets({phase.variant for phase in head.schedule}, config.variants)
        gains = ablate(spec, data, head, chosen_sets, config.seeds, advance)
    chosen = kept_head(winner(seeds))
    logits = predict_logits(chosen, data.evaluated.features)
    return SearchResult(
        heads=heads,
        best=spec,
        head=chosen,
        temperature=fit_temperature(logits.numpy(), data.evaluated.labels.cpu().numpy()),
        val=spread([trial.val_accuracy for trial in seeds]),
        test=None if test is None else spread([float(_right(trial, test).mean()) for trial in seeds]),
        folds=None if across is None else spread([trial.val_accuracy for trial in across]),
        gains=gains,
    )


def rows_of_search(train: Mapping[str, FeatureSet], config: SweepConfig, head: TrainHeadConfig) -> int:
    """How many rows the heads of a search see, all together."""
    rows = [phase.epochs * len(train.get(phase.variant, ())) for phase in head.schedule]
    heads = [len(grid(config, head.seed))]
    for _ in rows[1:]:
        heads.append(math.ceil(config.keep * heads[-1]))
    whole = config.seeds + config.folds
    if config.variants != "none":
        whole += config.seeds * len(subsets({phase.variant for phase in head.schedule}, config.variants))
    return sum(count * seen for count, seen in zip(heads, rows, strict=True)) + whole * sum(rows)


def _right(trial: Trial, features: FeatureSet) -> Array:
    """bool [n]: whether the head is right."""
    predicted = predict_logits(kept_head(trial), torch.from_numpy(features.features[:])).argmax(dim=1)
    return np.asarray(predicted.numpy() == features.labels)


def grid(config: SweepConfig, seed: int) -> list[HeadSpec]:
    """Every combination; a linear head has no layer to drop out."""
    axes = (config.hidden, config.lr, config.weight_decay, config.dropout, config.label_smoothing, config.mixup)
    specs = [
        HeadSpec(tuple(hidden), lr, decay, dropout if hidden else 0.0, smoothing, mixup, seed)
        for hidden, lr, decay, dropout, smoothing, mixup in itertools.product(*axes)
    ]
    return list(dict.fromkeys(specs))
