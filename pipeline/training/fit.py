"""A full model over cached images, trained by a recipe on a staged schedule (reports 000, 002, 003 and 004)."""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from cache.errors import InputError, ParamsError, RecordError
from cache.records import UNAUGMENTED, ImageSet
from pipeline.config.recipe import Recipe
from pipeline.config.shared.networks import MODEL_STAGE
from pipeline.config.shared.variants import GAN_PREFIX
from pipeline.config.train_model import TrainModelConfig
from pipeline.metrics.calibration import fit_temperature
from pipeline.networks.factory import count_parameters, make_network
from pipeline.runtime.checkpoint import Checkpoint
from pipeline.runtime.devices import choose_device, device_kind
from pipeline.runtime.seeds import derived_seed
from pipeline.training.batches import ImageBatches, channel_statistics
from pipeline.training.trainer import Plan, Trainer, judged

CODE_VERSION = 1


@dataclass(frozen=True)
class ModelFit:
    """A trained network with the weights that are kept, and its curves.

    Kept are SWA's average where the recipe has one, else the weights of the best epoch by val-unaugmented (the last one
    without val). mean, deviation: of the training images' channels in 0..255. last: weights after the last step.
    curves: one row an epoch: epoch, variant, lr, train_loss, train_accuracy and, with val, val_loss, val_accuracy.
    kept: the val figures of the kept weights. temperature: fitted on val-unaugmented, 1 without it.
    """

    network: nn.Module
    mean: list[float]
    deviation: list[float]
    size: int
    last: dict[str, Tensor]
    curves: list[dict[str, Any]]
    best_epoch: int
    kept: dict[str, float]
    temperature: float = 1.0

    @property
    def parameters(self) -> int:
        """How many numbers training moved."""
        return count_parameters(self.network)

    def describe(self, name: str, recipe: Recipe) -> dict[str, Any]:
        """What the kept network needs to predict, and what it was trained by; plain values."""
        return {
            "stage": MODEL_STAGE,
            "name": name,
            "network": recipe.network.model_dump(mode="json"),
            "training": recipe.model_dump(mode="json", exclude={"network"}),
            "mean": [value / 255 for value in self.mean],
            "std": [value / 255 for value in self.deviation],
            "size": self.size,
            "interpolation": "bicubic",
        }


def fit_model(
    train: Mapping[str, ImageSet],
    val: Mapping[str, ImageSet],
    recipe: Recipe,
    config: TrainModelConfig,
    advance: Callable[[int], object] = lambda count: None,
    log: Callable[[Mapping[str, Any]], object] = lambda curve: None,
) -> Iterator[ModelFit]:
    """Train once a seed, or go on from checkpoints in the store. log: is given each row of the first seed's curves.

    Deterministic on one machine with one number of threads. Raises InputError where the schedule names a variant that
    is not there or the loss is not finite, RecordError for sets that do not belong together, ParamsError for a network
    beyond its limit.
    """
    _check_sets(train, val, recipe)
    wanted = {phase.variant for phase in recipe.schedule}
    sets = {variant: train[variant] for variant in sorted(wanted)}
    held_out = {variant: images for variant, images in val.items() if variant in wanted | {UNAUGMENTED}}
    device = choose_device(config.device)
    memory = config.memory_gb * 1e9 / max(1, len(sets) + len(held_out))
    pixels = {variant: ImageBatches(images, device, memory) for variant, images in sets.items()}
    judges = {variant: ImageBatches(images, device, memory) for variant, images in held_out.items()}
    mean, deviation = channel_statistics(sets.get(UNAUGMENTED, next(iter(sets.values()))))
    first = next(iter(sets.values()))
    plan = Plan(
        recipe=recipe,
        seed=config.seed,
        classes=len(first.classes),
        mean=torch.tensor(mean, device=device),
        deviation=torch.tensor(deviation, device=device),
        size=recipe.size or int(first.images.shape[1]),
        engine=config.engine,
    )
    decided: dict[str, Any] = {
        "images": _digest([*sets.values(), *held_out.values()]),
        "device": device_kind(config.device),
    }
    decided["pieces"] = {variant: None if rows.resident is not None else rows.piece for variant, rows in pixels.items()}
    for seed in range(config.seed, config.seed + config.seeds):
        own, told = replace(plan, seed=seed), log if seed == config.seed else lambda curve: None
        checkpoint = Checkpoint("train_model", decided | _decided_by(own))
        trainer = Trainer(own, pixels, judges, checkpoint, config.checkpoint_seconds, advance, told)
        yield _fit_once(trainer, mean, deviation)


def _fit_once(trainer: Trainer, mean: list[float], deviation: list[float]) -> ModelFit:
    plan, device = trainer.plan, trainer.plan.mean.device
    index = [device.index or 0] if device.type == "cuda" else []
    deterministic = torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True)
    with torch.random.fork_rng(devices=index), deterministic:
        torch.manual_seed(derived_seed("train_model", plan.seed) % 2**63)
        network = make_network(plan.recipe.network, plan.classes, plan.recipe.parameter_limit)
        _check_network(network, plan)
        training = trainer.run(network.to(device).to(memory_format=torch.channels_last))
    last = {name: tensor.detach().cpu().clone() for name, tensor in training.network.state_dict().items()}
    swa = training.average is not None and plan.recipe.swa is not None
    training.network.load_state_dict(training.average.module.state_dict() if swa else training.best)  # type: ignore[union-attr]
    network = training.network.eval()
    best_epoch = training.epoch if swa else training.best_epoch
    fit = ModelFit(network, mean, deviation, plan.size, last, training.curves, best_epoch, {})
    judge = trainer.val.get(UNAUGMENTED)
    if judge is None:
        return fit
    logits = trainer.logits(network, judge)
    loss, accuracy = judged(logits, judge.labels)
    temperature = fit_temperature(logits.cpu().numpy(), judge.labels.cpu().numpy())
    return replace(fit, kept={"val_accuracy": accuracy, "val_loss": loss}, temperature=temperature)


def _decided_by(plan: Plan) -> dict[str, Any]:
    """What decides a training besides images, pieces and device; two that are alike in all share their checkpoints."""
    return {
        "stage": "train_model",
        "code": CODE_VERSION,
        "recipe": plan.recipe.model_dump(mode="json", exclude={"source", "reported", "chosen"}),
        "seed": plan.seed,
        "engine": plan.engine,
        "threads": torch.get_num_threads(),
        "libraries": {name: version(name) for name in ("torch", "torchvision", "timm")},
    }


def _digest(sets: list[ImageSet]) -> str:
    digest = hashlib.sha256()
    for images in sets:
        for column in (images.keys(), np.asarray(images.labels, dtype="<i8")):
            digest.update(np.ascontiguousarray(column).data)
        digest.update("\0".join((images.variant, *images.classes)).encode())
    return digest.hexdigest()


def _check_network(network: nn.Module, plan: Plan) -> None:
    """Refuse a network that cannot take the images, or does not give logits, before any work."""
    try:
        with torch.no_grad():
            found = deepcopy(network).train()(torch.zeros(2, 3, plan.size, plan.size))
    except (RuntimeError, AssertionError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ParamsError(f"network cannot take images of {plan.size} px: {reason}", where="recipe network") from error
    if not isinstance(found, Tensor) or found.shape != (2, plan.classes):
        raise ParamsError("network does not give logits in training", where="recipe network")


def _check_sets(train: Mapping[str, ImageSet], val: Mapping[str, ImageSet], recipe: Recipe) -> None:
    """Refuse sets that the schedule lacks, that differ in classes, size or photos, or photos of train in val."""
    for phase in recipe.schedule:
        if phase.variant not in train:
            known = ", ".join(sorted(train)) or "none"
            remedy = "Run augment, or change the recipe's schedule."
            what = "schedule names a variant that is not there"
            raise InputError(what, where="train_model", expected=known, found=phase.variant, remedy=remedy)
        if len(train[phase.variant]) < 2:
            raise InputError("too few images to train on", where=phase.variant, expected="two or more")
    wanted = {phase.variant for phase in recipe.schedule}
    used = [{name: one for name, one in split.items() if name in wanted | {UNAUGMENTED}} for split in (train, val)]
    photos = [[one for name, one in split.items() if not name.startswith(GAN_PREFIX)] for split in used]
    for split in photos:
        for images in split[1:]:
            if not np.array_equal(images.ids, split[0].ids):
                raise RecordError("variants hold different photos", where=images.variant, remedy="Run augment again.")
    everything = [one for split in used for one in split.values()]
    for images in everything[1:]:
        if images.classes != everything[0].classes:
            raise RecordError("image sets differ in classes", where=images.variant, remedy="Run augment again.")
        if images.images.shape[1:] != everything[0].images.shape[1:] and recipe.size is None:
            expected, found = everything[0].images.shape[1], images.images.shape[1]
            remedy = "Set augment.size to prepare.size, or give the recipe a size."
            what = "image sets differ in size"
            raise RecordError(what, where=images.variant, expected=expected, found=found, remedy=remedy)
    if all(photos) and np.isin(photos[1][0].ids, photos[0][0].ids).any():
        raise RecordError("photos of train stand in val too", remedy="Run prepare and augment again.")
