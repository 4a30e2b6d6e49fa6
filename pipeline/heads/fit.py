"""One head over cached features, trained on a staged schedule (report 001)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from cache.errors import InputError
from cache.records import UNAUGMENTED, FeatureSet
from pipeline.config.shared.schedule import epochs_of
from pipeline.config.shared.stages import TRAIN_HEAD
from pipeline.config.train_head import TrainHeadConfig
from pipeline.heads.halving import HeadGroup, SweepData
from pipeline.heads.sets import Rows, check_sets, fit_standardizer, in_memory
from pipeline.heads.spec import HeadSpec, spec_of, weights_of
from pipeline.heads.stack import evaluate_stack
from pipeline.metrics.calibration import fit_temperature
from pipeline.networks.head import Head, predict_logits
from pipeline.runtime.devices import choose_device, tensor_cores
from pipeline.runtime.progress import SILENT, Watch
from pipeline.runtime.seeds import torch_seeded
from pipeline.runtime.threads import threads_for


@dataclass(frozen=True)
class Fit:
    """A trained head: the weights of its best epoch by val-unaugmented (the last one without val), and its curves.

    curves: one row per epoch: epoch, variant, lr, train_loss, train_accuracy and, if there is a validation set,
    val_loss, val_accuracy and val_accuracy_<variant> for its augmented siblings. best_epoch: 0 for a head that was not
    trained by epochs. temperature: fitted on val-unaugmented, 1 without it.
    """

    head: Head
    curves: list[dict[str, Any]]
    best_epoch: int
    temperature: float = 1.0


def fit_head(
    train: Mapping[str, FeatureSet],
    val: Mapping[str, FeatureSet],
    config: TrainHeadConfig,
    watch: Watch = SILENT,
) -> Fit:
    """Train a head on the phases of the schedule over the sets of `train`, by variant.

    What the configuration leaves to choice is set by rule (`spec_of`). The head is trained on config.device and
    returned on the CPU. Deterministic by config.seed. Raises InputError if the schedule names a variant that is not
    there, RecordError if the sets do not belong together.
    """
    check_sets(train, val, config.schedule)
    spec = spec_of(config, int(train[config.schedule[0].variant].features.shape[1]))
    return fit_spec(spec, train, val, config, watch)


def fit_spec(
    spec: HeadSpec,
    train: Mapping[str, FeatureSet],
    val: Mapping[str, FeatureSet],
    config: TrainHeadConfig,
    watch: Watch = SILENT,
) -> Fit:
    """Train the head of a spec on the schedule; sets that `check_sets` has passed."""
    first = config.schedule[0].variant
    device = choose_device(config.device)
    seen = {spec.trains_on(variant) for variant in epochs_of(config.schedule)} | {*epochs_of(config.schedule)}
    rows = {variant: in_memory(train[variant], device) for variant in sorted(seen)}
    held_out = {variant: in_memory(features, device) for variant, features in val.items()}
    standardizer = fit_standardizer(rows.get(UNAUGMENTED, rows[first]))
    data = SweepData(rows, held_out.get(UNAUGMENTED), None, standardizer, len(train[first].classes))
    siblings = {variant: others for variant, others in held_out.items() if variant != UNAUGMENTED}
    weights = weights_of(spec, len(standardizer.mean), data.classes)
    with torch_seeded(TRAIN_HEAD, spec.seed), tensor_cores(device), threads_for(6.0 * config.batch * weights):
        group = HeadGroup([spec], data, config)
        curves = [_epoch(group, variant, siblings, watch) for variant in epochs_of(config.schedule)]
    best_epoch = int(group.epoch[0])
    if not best_epoch:
        raise _diverged()
    head = group.head(0)
    return Fit(head, curves, best_epoch, _temperature(head, data.held_out))


def _epoch(group: HeadGroup, variant: str, siblings: Mapping[str, Rows], watch: Watch) -> dict[str, Any]:
    """Train one epoch; its row of the curves. Raises InputError if the loss is not finite."""
    factor, _ = group.trainer.steps[group.trainer.taken]
    figures = {name: float(values[0]) for name, values in group.run(variant).items()}
    if not torch.tensor(figures["train_loss"]).isfinite():
        raise _diverged()
    curve: dict[str, Any] = {
        "epoch": group.epochs,
        "variant": variant,
        "lr": group.stack.specs[0].lr * factor,
        **figures,
    }
    for name, rows in siblings.items():
        accuracy, _ = evaluate_stack(group.stack, rows, group.data.standardizer)
        curve[f"val_accuracy_{name}"] = float(accuracy[0])
    watch.advance(len(group.data.rows[variant].labels))
    watch.log(curve)
    return curve


def _diverged() -> InputError:
    return InputError("training diverged: the loss is not finite", where=TRAIN_HEAD, remedy="Lower train_head.lr.")


def _temperature(head: Head, held_out: Rows | None) -> float:
    if held_out is None:
        return 1.0
    return fit_temperature(predict_logits(head, held_out.features).numpy(), held_out.labels.cpu().numpy())
