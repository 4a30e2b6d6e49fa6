"""A full model over cached images, trained by a recipe on a staged schedule (reports 000, 002, 003 and 004)."""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from cache.errors import InputError, ParamsError, RecordError
from cache.records import UNAUGMENTED, ImageSet
from pipeline.config.recipe import Recipe
from pipeline.config.shared.networks import BACKBONE, MODEL_STAGE
from pipeline.config.shared.schedule import Phase, variants_of, with_all_named
from pipeline.config.shared.variants import GAN_PREFIX
from pipeline.features.backbone import weights_digest
from pipeline.metrics.calibration import fit_temperature
from pipeline.networks.factory import count_parameters, make_network
from pipeline.runtime.checkpoint import Checkpoint
from pipeline.runtime.devices import choose_device, device_kind, reproducible_kernels
from pipeline.runtime.provenance import package_versions
from pipeline.runtime.seeds import derived_seed
from pipeline.training.batches import ImageBatches, channel_statistics
from pipeline.training.start import Start
from pipeline.training.state import Plan
from pipeline.training.trainer import Trainer, loss_and_accuracy

CODE_VERSION = 2
LIBRARIES = ("torch", "torchvision", "timm", "efficientnet-pytorch")  # as far as a machine has them


class RunSettings(Protocol):
    """How trainings run, whatever they train: a section of params.yaml."""

    @property
    def seeds(self) -> int: ...
    @property
    def seed(self) -> int: ...
    @property
    def device(self) -> str: ...
    @property
    def engine(self) -> str: ...
    @property
    def memory_gb(self) -> float: ...
    @property
    def checkpoint_seconds(self) -> float: ...


@dataclass(frozen=True)
class Watch:
    """Who is told of progress: `advance` of images seen, `log` of each row of the first seed's curves."""

    advance: Callable[[int], object] = lambda count: None
    log: Callable[[Mapping[str, Any]], object] = lambda curve: None


@dataclass(frozen=True)
class ModelFit:
    """A trained network with the weights that are kept, and its curves.

    Kept are SWA's average where the recipe has one, else the weights of the best epoch by val-unaugmented (the last one
    without val). mean, deviation: of the training images' channels in 0..255. last: weights after the last step.
    curves: one row per epoch: epoch, variant, lr, train_loss, train_accuracy and, with val, val_loss, val_accuracy.
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
    start: dict[str, Any]
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
            "network": recipe.network.model_dump(mode="json") | self.start,
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
    config: RunSettings,
    watch: Watch | None = None,
    start: Start | None = None,
) -> Iterator[ModelFit]:
    """Train once per seed, or resume from checkpoints in the store.

    start: what a recipe of the network `backbone` goes on from. Deterministic on one machine with one number of
    threads. Raises InputError if the schedule names a variant that is not there or the loss is not finite, RecordError
    for sets that do not belong together, ParamsError for a network beyond its limit.
    """
    watch = watch or Watch()
    recipe = recipe.model_copy(update={"schedule": with_all_named(recipe.schedule, train)})
    if (start is None) == (recipe.network.name == BACKBONE):
        raise ParamsError("only the network `backbone` starts from another one", where="recipe network")
    check_image_sets(train, val, recipe.schedule, any_size=recipe.size is not None or start is not None)
    pixels, held_out = _on_device(train, val, recipe, config)
    plan = _make_plan(train, recipe, config, start)
    fields = {
        "images": _digest([images for rows in (*pixels.values(), *held_out.values()) for images in rows.variants]),
        "device": device_kind(config.device),
        "pieces": {phase: None if rows.resident is not None else rows.piece for phase, rows in pixels.items()},
        "start": None if start is None else weights_digest(start.network),
    }
    for seed in range(config.seed, config.seed + config.seeds):
        of_seed = replace(plan, seed=seed)
        checkpoint = Checkpoint("training", fields | _fields_of(of_seed))
        log = watch.log if seed == config.seed else Watch.log
        trainer = Trainer(of_seed, pixels, held_out, checkpoint, config.checkpoint_seconds, watch.advance, log)
        yield _fit_once(trainer, start)


def images_trained(recipe: Recipe, train: Mapping[str, ImageSet]) -> int:
    """How many images a training sees, over all epochs."""
    schedule = with_all_named(recipe.schedule, train)
    return sum(phase.epochs * len(train.get(phase.variants[0], ())) for phase in schedule)


def _on_device(
    train: Mapping[str, ImageSet], val: Mapping[str, ImageSet], recipe: Recipe, config: RunSettings
) -> tuple[dict[str, ImageBatches], dict[str, ImageBatches]]:
    """The images of each kind of phase, and those of val that are looked at after every epoch, as far as memory goes.

    Of val these are the unaugmented ones, and the variants that have a phase of their own.
    """
    device = choose_device(config.device)
    phases = {phase.variant: phase.variants for phase in sorted(recipe.schedule, key=lambda phase: phase.variant)}
    watched = [variant for variant in val if variant in {*phases, UNAUGMENTED}]
    memory = config.memory_gb * 1e9 / max(1, sum(map(len, phases.values())) + len(watched))
    rows = {
        name: ImageBatches([train[variant] for variant in variants], device, memory * len(variants))
        for name, variants in phases.items()
    }
    return rows, {variant: ImageBatches([val[variant]], device, memory) for variant in watched}


def _make_plan(train: Mapping[str, ImageSet], recipe: Recipe, config: RunSettings, start: Start | None) -> Plan:
    """What decides the training. A network that starts anew is normalised by the training images."""
    device = choose_device(config.device)
    wanted = sorted(variants_of(recipe.schedule))
    images = train[UNAUGMENTED if UNAUGMENTED in wanted else wanted[0]]
    if start is None:
        mean, deviation = channel_statistics(images)
    else:
        mean = [255 * value for value in start.mean]
        deviation = [255 * value for value in start.std]
    stored = int(images.images.shape[1])
    sizes = recipe.size if isinstance(recipe.size, list) else [recipe.size or (start.size if start else stored)]
    return Plan(
        recipe=recipe,
        seed=config.seed,
        classes=len(images.classes),
        mean=torch.tensor(mean, device=device),
        deviation=torch.tensor(deviation, device=device),
        sizes=tuple(sizes),
        epochs=sum(phase.epochs for phase in recipe.schedule),
        engine=config.engine,
    )


def _fit_once(trainer: Trainer, start: Start | None) -> ModelFit:
    plan = trainer.plan
    device = plan.mean.device
    index = [device.index or 0] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=index), reproducible_kernels():
        torch.manual_seed(derived_seed("train_model", plan.seed) % 2**63)
        if start is None:
            network = make_network(plan.recipe.network, plan.classes, plan.recipe.parameter_limit)
        else:
            network = deepcopy(start.network)
        _check_network(network, plan)
        training = trainer.run(network.to(device).to(memory_format=torch.channels_last))
    last = {name: tensor.detach().cpu().clone() for name, tensor in training.network.state_dict().items()}
    swa = training.average if plan.recipe.swa is not None else None
    training.network.load_state_dict(training.best if swa is None else swa.module.state_dict())
    network = training.network.eval()
    fit = ModelFit(
        network=network,
        mean=plan.mean.tolist(),
        deviation=plan.deviation.tolist(),
        size=plan.sizes[-1],
        last=last,
        curves=training.curves,
        best_epoch=training.best_epoch if swa is None else training.epoch,
        kept={},
        start={} if start is None else start.description,
    )
    val = trainer.val.get(UNAUGMENTED)
    if val is None:
        return fit
    logits = trainer.logits(network, val, plan.epochs - 1)
    loss, accuracy = loss_and_accuracy(logits, val.labels)
    temperature = fit_temperature(logits.cpu().numpy(), val.labels.cpu().numpy())
    return replace(fit, kept={"val_accuracy": accuracy, "val_loss": loss}, temperature=temperature)


def _fields_of(plan: Plan) -> dict[str, Any]:
    """What decides a training besides images, pieces and device; two that are alike in all share their checkpoints."""
    return {
        "code": CODE_VERSION,
        "recipe": plan.recipe.model_dump(mode="json", exclude={"source", "reported", "chosen"}),
        "seed": plan.seed,
        "engine": plan.engine,
        "threads": torch.get_num_threads(),
        "libraries": {name: number for name, number in package_versions() if name in LIBRARIES},
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
            logits = deepcopy(network).train()(torch.zeros(2, 3, plan.size(0), plan.size(0)))
    except (RuntimeError, AssertionError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ParamsError(
            f"network cannot take images of {plan.size(0)} px: {reason}", where="recipe network"
        ) from error
    if not isinstance(logits, Tensor) or logits.shape != (2, plan.classes):
        raise ParamsError("network does not give logits in training", where="recipe network")


def check_image_sets(
    train: Mapping[str, ImageSet], val: Mapping[str, ImageSet], schedule: list[Phase], any_size: bool
) -> None:
    """Refuse sets that the schedule lacks, that differ in classes, size or photos, or photos of train in val.

    any_size: the network's input has a size of its own, so stored sizes may differ.
    """
    wanted = variants_of(schedule)
    for variant in sorted(wanted):
        if variant not in train:
            known = ", ".join(sorted(train)) or "none"
            remedy = "Run augment, or change the recipe's schedule."
            what = "schedule names a variant that is not there"
            raise InputError(what, where="training", expected=known, found=variant, remedy=remedy)
        if len(train[variant]) < 2:
            raise InputError("too few images to train on", where=variant, expected="two or more")
    used = [
        {name: images for name, images in split.items() if name in wanted | {UNAUGMENTED}} for split in (train, val)
    ]
    photos = [[images for name, images in split.items() if not name.startswith(GAN_PREFIX)] for split in used]
    for split in photos:
        for images in split[1:]:
            if not np.array_equal(images.ids, split[0].ids):
                raise RecordError("variants hold different photos", where=images.variant, remedy="Run augment again.")
    everything = [images for split in used for images in split.values()]
    for images in everything[1:]:
        if images.classes != everything[0].classes:
            raise RecordError("image sets differ in classes", where=images.variant, remedy="Run augment again.")
        if images.images.shape[1:] != everything[0].images.shape[1:] and not any_size:
            raise RecordError(
                "image sets differ in size",
                where=images.variant,
                expected=everything[0].images.shape[1],
                found=images.images.shape[1],
                remedy="Set augment.size to prepare.size, or give the recipe a size.",
            )
    if all(photos) and np.isin(photos[1][0].ids, photos[0][0].ids).any():
        raise RecordError("some images are in both train and val", remedy="Run prepare and augment again.")
