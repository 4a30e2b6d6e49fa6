"""An MLP head over cached features, trained on a staged schedule (report 001)."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from cache.errors import InputError, RecordError
from cache.records import UNAUGMENTED, FeatureSet
from pipeline.config.shared.schedule import Phase, epochs_of
from pipeline.config.shared.variants import GAN_PREFIX
from pipeline.config.train_head import TrainHeadConfig
from pipeline.heads.optim import FusedOptimizer, lr_factors
from pipeline.metrics.calibration import fit_temperature
from pipeline.networks.head import Head, predict_logits, steady_scale
from pipeline.runtime.devices import choose_device, tensor_cores
from pipeline.runtime.seeds import torch_seeded

CACHED_ROWS = 512
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Fit:
    """A trained head: the weights of its best epoch by val-unaugmented (the last one without val), and its curves.

    curves: one row an epoch: epoch, variant, lr, train_loss, train_accuracy and, where there is a validation set,
    val_loss, val_accuracy and val_accuracy_<variant> for its augmented siblings. temperature: fitted on
    val-unaugmented, 1 without it.
    """

    head: Head
    curves: list[dict[str, Any]]
    best_epoch: int
    temperature: float = 1.0


@dataclass(frozen=True)
class Rows:
    """A FeatureSet in the memory of a device, once."""

    features: Tensor  # float [n, d], as stored
    labels: Tensor  # int64 [n]


def fit_head(
    train: Mapping[str, FeatureSet],
    val: Mapping[str, FeatureSet],
    config: TrainHeadConfig,
    advance: Callable[[int], object] = lambda count: None,
) -> Fit:
    """Train a head on the phases of the schedule over the sets of `train`, by variant.

    The head is trained on config.device and given back on the CPU. Deterministic by config.seed. Raises InputError
    where the schedule names a variant that is not there, RecordError where the sets do not belong together.
    """
    check_sets(train, val, config.schedule)
    needed = [phase.variant for phase in config.schedule]
    device = choose_device(config.device)
    rows = {variant: in_memory(train[variant], device) for variant in sorted(set(needed))}
    held_out = {variant: in_memory(features, device) for variant, features in val.items()}
    with torch_seeded("train_head", config.seed), tensor_cores(device):
        statistics = rows[UNAUGMENTED if UNAUGMENTED in rows else needed[0]]
        head = _make_head(statistics, len(train[needed[0]].classes), config)
        fit = _train(head, rows, held_out, config, advance)
    judge = held_out.get(UNAUGMENTED)
    if judge is None:
        return fit
    logits = predict_logits(fit.head, judge.features)
    return replace(fit, temperature=fit_temperature(logits.numpy(), judge.labels.cpu().numpy()))


def _make_head(first: Rows, classes: int, config: TrainHeadConfig) -> Head:
    head = Head([first.features.shape[1], *config.hidden, classes], config.dropout, config.input_dropout)
    mean, deviation = statistics_of(first)
    head.mean.copy_(mean)
    head.deviation.copy_(deviation)
    return head.to(first.labels.device)


def statistics_of(rows: Rows) -> tuple[Tensor, Tensor]:
    """Mean and scale [d] that features are standardised by, in blocks that a processor's cache holds."""
    count = len(rows.labels)
    blocks = rows.features.split(CACHED_ROWS)
    mean = torch.stack([block.float().sum(dim=0) for block in blocks]).sum(dim=0) / count
    squares = torch.stack([(block.float() - mean).square_().sum(dim=0) for block in blocks]).sum(dim=0)
    return mean, steady_scale(mean, (squares / max(1, count - 1)).sqrt(), count)


@dataclass(frozen=True)
class _Learner:
    """What one step of training moves: the head, its optimizer and its moving average."""

    head: Head
    optimizer: FusedOptimizer
    average: AveragedModel

    def step(self, loss: Tensor, lr: float, momentum: float) -> None:
        self.optimizer.step(torch.autograd.grad(loss, list(self.head.parameters())), lr, momentum)
        self.average.update_parameters(self.head)


def _train(
    head: Head,
    train: Mapping[str, Rows],
    val: Mapping[str, Rows],
    config: TrainHeadConfig,
    advance: Callable[[int], object],
) -> Fit:
    average = AveragedModel(head, multi_avg_fn=get_ema_multi_avg_fn(config.ema))
    learner = _Learner(head, FusedOptimizer(head.parameters(), config.optimizer, config.weight_decay), average)
    lr_factors_left = lr_factors_of(train, config)
    averaged = cast(Head, learner.average.module)
    curves: list[dict[str, Any]] = []
    best: tuple[float, float] | None = None
    best_epoch, weights = 0, averaged.state_dict()
    for epoch, variant in enumerate(epochs_of(config.schedule), start=1):
        rows = train[variant]
        now = list(islice(lr_factors_left, _batches(rows, config)))
        curve: dict[str, Any] = {"epoch": epoch, "variant": variant, "lr": config.lr * now[0][0]}
        curve |= _train_epoch(learner, rows, now, config)
        for name, held_out in val.items():
            loss, accuracy = measure(averaged, held_out.features, held_out.labels)
            if name == UNAUGMENTED:
                curve |= {"val_loss": loss, "val_accuracy": accuracy}
            else:
                curve[f"val_accuracy_{name}"] = accuracy
        curves.append(curve)
        score = (curve.get("val_accuracy", float(epoch)), -curve.get("val_loss", 0.0))
        if best is None or score > best:
            best, best_epoch = score, epoch
            weights = {key: value.clone() for key, value in averaged.state_dict().items()}
        advance(len(rows.labels))
    averaged.load_state_dict(weights)
    return Fit(averaged.cpu().eval(), curves, best_epoch)


def lr_factors_of(train: Mapping[str, Rows], config: TrainHeadConfig) -> Iterator[tuple[float, float]]:
    """Of each step of the schedule the factor of the learning rate, and the momentum."""
    steps = sum(phase.epochs * _batches(train[phase.variant], config) for phase in config.schedule)
    return lr_factors(config.lr_schedule, steps)


def _batches(rows: Rows, config: TrainHeadConfig) -> int:
    return -(-len(rows.labels) // config.batch)


def _train_epoch(
    learner: _Learner, rows: Rows, lr_factors_left: list[tuple[float, float]], config: TrainHeadConfig
) -> dict[str, float]:
    """One pass in random order; the loss and the accuracy are means over examples."""
    learner.head.train()
    device = rows.labels.device
    order = torch.randperm(len(rows.labels)).to(device)
    total, right = torch.zeros(2, device=device)
    for index, (factor, momentum) in zip(order.split(config.batch), lr_factors_left, strict=True):
        labels = rows.labels[index]
        with torch.autocast(device.type, torch.bfloat16, enabled=config.precision == "bfloat16"):
            logits = learner.head(rows.features.index_select(0, index).float()).float()
        loss = functional.cross_entropy(logits, labels, label_smoothing=config.label_smoothing)
        learner.step(loss, config.lr * factor, momentum)
        total += loss.detach() * len(index)
        right += (logits.argmax(dim=1) == labels).sum()
    if not torch.isfinite(total):
        raise InputError("training diverged: the loss is not finite", where="train_head", remedy="Lower train_head.lr.")
    return {"train_loss": float(total) / len(order), "train_accuracy": float(right) / len(order)}


def measure(head: Head, features: Tensor, labels: Tensor) -> tuple[float, float]:
    """Mean cross entropy and accuracy over all examples."""
    logits = predict_logits(head, features)
    loss = functional.cross_entropy(logits, labels)
    return float(loss), float((logits.argmax(dim=1) == labels).double().mean())


def check_sets(train: Mapping[str, FeatureSet], val: Mapping[str, FeatureSet], schedule: list[Phase]) -> None:
    """Refuse sets that the schedule lacks, or that differ in classes, backbone or width."""
    for phase in schedule:
        if phase.variant not in train:
            known = ", ".join(sorted(train)) or "none"
            remedy = "Run featurize, or change train_head.schedule."
            raise InputError(
                "schedule names a variant that is not there", expected=known, found=phase.variant, remedy=remedy
            )
        if not len(train[phase.variant]):
            raise InputError("training set is empty", where=phase.variant, remedy="Run prepare with more images.")
    photos = [[each for each in split.values() if not each.variant.startswith(GAN_PREFIX)] for split in (train, val)]
    for alike in photos:
        for features in alike:
            if not np.array_equal(features.ids, alike[0].ids):
                remedy = "Run augment and featurize again."
                raise RecordError("variants hold different photos", where=features.variant, remedy=remedy)
    if all(photos) and np.isin(photos[1][0].ids, photos[0][0].ids).any():
        raise RecordError("photos of train stand in val too", remedy="Run prepare, augment and featurize again.")
    everything = [*train.values(), *val.values()]
    for features in everything[1:]:
        for name in ("classes", "recipe"):
            if getattr(features, name) != getattr(everything[0], name):
                raise RecordError(
                    f"feature sets differ in {name}", where=features.variant, remedy="Run featurize again."
                )


def in_memory(features: FeatureSet, device: torch.device = CPU) -> Rows:
    """Read a set once. Raises InputError where it does not fit on a GPU."""
    labels = torch.from_numpy(np.asarray(features.labels, dtype=np.int64))
    try:
        return Rows(torch.from_numpy(features.features[:]).to(device), labels.to(device))
    except torch.OutOfMemoryError as error:
        what, remedy = "features do not fit into the memory of the GPU", "Set train_head.device to cpu."
        raise InputError(what, where=features.variant, remedy=remedy) from error
