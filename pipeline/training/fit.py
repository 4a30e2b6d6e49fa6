"""A full model over cached images, trained by a recipe on a staged schedule (reports 000, 002, 003 and 004)."""

import hashlib
import math
from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from cache.errors import InputError, ParamsError, RecordError
from cache.records import UNAUGMENTED, ImageSet
from pipeline.config.recipe import Recipe
from pipeline.config.shared.schedule import Phase, settled, variants_of
from pipeline.config.shared.stages import AUGMENT, TRAIN_MODEL
from pipeline.features.backbone import weights_digest
from pipeline.metrics.calibration import fit_temperature
from pipeline.metrics.set_checks import check_training_sets
from pipeline.networks.factory import count_parameters, make_network
from pipeline.runtime.checkpoint import Checkpoint
from pipeline.runtime.devices import choose_device, device_kind, reproducible_kernels, settled_precision
from pipeline.runtime.progress import SILENT, Watch
from pipeline.runtime.provenance import package_versions
from pipeline.runtime.seeds import derived_seed
from pipeline.training.batches import ImageBatches, channel_statistics
from pipeline.training.start import Start, started
from pipeline.training.state import Plan, TrainingState
from pipeline.training.trainer import Trainer, loss_and_accuracy

CODE_VERSION = 7
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
class ModelFit:
    """A trained network with the weights that are kept, and its curves.

    Kept are SWA's average if the recipe has one, else the weights of the last epoch, unless an earlier one was clearly
    better on val-unaugmented. mean, deviation: of the training images' channels in 0..255. last: weights after the last
    step. recipe: as it was used, with its schedule for these sets and its precision on this device.
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
    recipe: Recipe
    temperature: float = 1.0

    @property
    def parameters(self) -> int:
        """How many numbers training moved."""
        return count_parameters(self.network)

    def describe(self, name: str) -> dict[str, Any]:
        """What the kept network needs to predict, and what it was trained by; plain values."""
        return {
            "stage": TRAIN_MODEL,
            "name": name,
            "network": self.recipe.network.model_dump(mode="json") | self.start,
            "training": self.recipe.model_dump(mode="json", exclude={"network"}),
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
    watch: Watch = SILENT,
    start: Start | None = None,
) -> Iterator[ModelFit]:
    """Train once per seed, or resume from checkpoints in the store.

    start: what a recipe of the network `backbone` goes on from. watch: its log gets the first seed's curves.
    Deterministic on one machine with one number of threads. Raises InputError if the schedule names a variant that is
    not there or the loss is not finite, RecordError for sets that do not belong together, ParamsError for a network
    beyond its limit.
    """
    precision = settled_precision(recipe.precision, choose_device(config.device))
    recipe = recipe.model_copy(update={"schedule": settled(recipe.schedule, train), "precision": precision})
    if (start is None) == recipe.fine_tunes:
        raise ParamsError("only the network `backbone` starts from another one", where="recipe network")
    check_image_sets(train, val, recipe.schedule, any_size=recipe.size is not None or start is not None)
    pixels, held_out = _on_device(train, val, recipe, config)
    fields = {
        "images": _digest([images for rows in (*pixels.values(), *held_out.values()) for images in rows.variants]),
        "device": device_kind(config.device),
        "pieces": {phase: None if rows.resident is not None else rows.piece for phase, rows in pixels.items()},
        "start": None if start is None else weights_digest(start.network),
    }
    plan = _make_plan(train, recipe, config, start)
    for seed in range(config.seed, config.seed + config.seeds):
        of_seed = replace(plan, seed=seed)
        checkpoint = Checkpoint("training", fields | _fields_of(of_seed))
        log = watch.log if seed == config.seed else SILENT.log
        trainer = Trainer(of_seed, pixels, held_out, checkpoint, config.checkpoint_seconds, watch.advance, log)
        yield _fit_once(trainer, start)


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
        torch.manual_seed(derived_seed(TRAIN_MODEL, plan.seed) % 2**63)
        if start is None:
            network = make_network(plan.recipe.network, plan.classes, plan.recipe.parameter_limit)
        else:
            network = started(start, plan.recipe)
        _check_network(network, plan)
        training = trainer.run(network.to(device).to(memory_format=torch.channels_last))
    last = {name: tensor.detach().cpu().clone() for name, tensor in training.network.state_dict().items()}
    weights, epoch = _kept_weights(training, trainer)
    training.network.load_state_dict(weights)
    network = training.network.eval()
    fit = ModelFit(
        network=network,
        mean=plan.mean.tolist(),
        deviation=plan.deviation.tolist(),
        size=plan.sizes[-1],
        last=last,
        curves=training.curves,
        best_epoch=epoch,
        kept={},
        start={} if start is None else start.description,
        recipe=plan.recipe,
    )
    val = trainer.val.get(UNAUGMENTED)
    if val is None:
        return fit
    logits = trainer.logits(network, val, plan.epochs - 1)
    loss, accuracy = loss_and_accuracy(logits, val.labels)
    temperature = fit_temperature(logits.cpu().numpy(), val.labels.cpu().numpy())
    kept = {"val_accuracy": accuracy, "val_loss": loss}
    return replace(fit, kept=kept, temperature=temperature)


def _kept_weights(training: TrainingState, trainer: Trainer) -> tuple[Mapping[str, Tensor], int]:
    """The weights that are kept, and after how many epochs they were reached.

    Those of the end, averaged if the recipe says so. Those of an earlier epoch if it was better on val by more than the
    standard error of its accuracy, or if training was stopped; the difference to the end is chance otherwise.
    """
    average = None if training.average is None else training.average.module
    end = (training.network if average is None else average).state_dict()
    val = trainer.val.get(UNAUGMENTED)
    if trainer.plan.recipe.swa is not None or val is None:
        return end, training.epoch
    best = training.curves[training.best_epoch - 1]["val_accuracy"]
    share = (best * len(val) + 1) / (len(val) + 2)  # Laplace's rule: all right is not certain either
    error = math.sqrt(share * (1 - share) / len(val))
    finished = training.epoch == trainer.plan.epochs
    if finished and best - training.curves[-1]["val_accuracy"] <= error:
        return end, training.epoch
    return training.best, training.best_epoch


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
    """Refuse sets that the schedule lacks, or that differ in images, classes or size; unused variants do not matter.

    any_size: the network's input has a size of its own, so stored sizes may differ. Raises InputError, RecordError.
    """
    wanted = variants_of(schedule)
    used = [
        {name: images for name, images in split.items() if name in wanted | {UNAUGMENTED}} for split in (train, val)
    ]
    check_training_sets(used[0], used[1], wanted, AUGMENT)
    for variant in sorted(wanted):
        if len(train[variant]) < 2:
            raise InputError("too few images to train on", where=variant, expected="two or more")
    sides = {images.images.shape[1] for split in used for images in split.values()}
    if len(sides) > 1 and not any_size:
        raise RecordError(
            "image sets differ in size",
            where="training",
            expected="one size",
            found=" and ".join(f"{side} px" for side in sorted(sides)),
            remedy="Set augment.size to prepare.size, or give the recipe a size.",
        )
