"""The whole search for a head: the grid, the best one's seeds and folds, what each variant is worth to it, its test."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch

from cache.layout import Array
from cache.records import UNAUGMENTED, FeatureSet
from pipeline.config.sweep import SweepConfig
from pipeline.config.train_head import TrainHeadConfig
from pipeline.heads.ablation import Spread, Worth, measure_worth, spread
from pipeline.heads.fit import Head, predict_logits
from pipeline.heads.halving import Outcome, fold_numbers, grid, kept_head, make_arena, repeated, run_pass, winner
from pipeline.heads.stack import Spec
from pipeline.metrics.calibration import fit_temperature


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
    arena = make_arena(train, val, head)
    heads = run_pass(grid(config, head.seed), arena, head, config.keep, advance)
    spec = winner(heads).spec
    seeds = run_pass(repeated(spec, config.seeds), arena, head, advance=advance)
    across = None
    if folds is not None:
        place = make_arena(train, {}, head, folds)
        across = run_pass([replace(spec, fold=fold) for fold in range(config.folds)], place, head, advance=advance)
    worth = []
    if config.variants != "none":
        worth = measure_worth(spec, arena, head, (config.variants, config.seeds), advance)
    chosen = kept_head(winner(seeds))
    logits = predict_logits(chosen, arena.judged_by.features)
    return Found(
        heads=heads,
        best=spec,
        head=chosen,
        temperature=fit_temperature(logits.numpy(), arena.judged_by.labels.cpu().numpy()),
        val=spread([one.val_accuracy for one in seeds]),
        test=None if test is None else spread([float(_right(one, test).mean()) for one in seeds]),
        folds=None if across is None else spread([one.val_accuracy for one in across]),
        worth=worth,
    )


def _right(outcome: Outcome, features: FeatureSet) -> Array:
    """bool [n]: whether the head is right."""
    predicted = predict_logits(kept_head(outcome), torch.from_numpy(features.features[:])).argmax(dim=1)
    return np.asarray(predicted.numpy() == features.labels)
