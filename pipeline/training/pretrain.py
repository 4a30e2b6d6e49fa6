"""Pretrain an EfficientNet by AdvProp (Xie et al., CVPR 2020) on a prepared ImageSet.

Every step sees a batch clean and attacked. The attacked one goes through the same convolutions but batch norms of its
own, because its statistics differ; those auxiliary norms are needed in training alone.
"""

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn import functional

from cache.errors import InputError
from cache.records import ImageSet
from pipeline.config.pretrain import PretrainConfig
from pipeline.networks.adversarial import Attack, perturb, sharing_weights
from pipeline.networks.efficientnet import CLASSIFIER, make_efficientnet
from pipeline.networks.resize import resized
from pipeline.runtime.checkpoint import Checkpoint
from pipeline.runtime.devices import choose_device, device_kind
from pipeline.runtime.seeds import derived_seed, make_generator, torch_seeded

CODE_VERSION = 1
MIDDLE = 127.5  # AdvProp's preprocessing, 2x - 1, in 0..255
NORM_MOMENTUM = 0.1  # the library's 0.01 needs hundreds of steps before its statistics hold
EVALUATION_ROWS = 500


@dataclass(frozen=True)
class Pretrained:
    """An EfficientNet with its classifier, of the last epoch.

    curves: one row an epoch: epoch, size, lr, train_loss, train_loss_attacked and, where there is a validation set,
    val_loss and val_accuracy, at the size of the epoch.
    """

    network: nn.Module
    curves: list[dict[str, Any]]


@dataclass(frozen=True)
class ImageBatches:
    """A whole ImageSet on the device: uint8 [n, 3, h, w], channels last, and int64 [n]."""

    images: Tensor
    labels: Tensor


class _Training:
    """All that a step moves, so all that a checkpoint holds."""

    def __init__(self, config: PretrainConfig, classes: int, steps: int, device: torch.device) -> None:
        with torch_seeded("pretrain", config.seed):
            network = make_efficientnet(config.backbone, None, classes)
        for norm in filter(lambda part: isinstance(part, nn.BatchNorm2d), network.modules()):
            norm.momentum = NORM_MOMENTUM
        self.network: nn.Module = network.to(device, memory_format=torch.channels_last)
        self.auxiliary = sharing_weights(self.network)
        self.predict, self.predict_attacked = (_runner(part, config.engine) for part in (self.network, self.auxiliary))
        tensors = list(nn.ModuleList([self.network, self.auxiliary]).parameters())
        decayed = [tensor for tensor in tensors if tensor.ndim > 1]
        others = [tensor for tensor in tensors if tensor.ndim <= 1]
        groups = [{"params": decayed, "weight_decay": config.weight_decay}, {"params": others, "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW(groups, lr=config.lr, fused=True)
        total = config.epochs * steps + 1
        self.scheduler = torch.optim.lr_scheduler.OneCycleLR(
            self.optimizer, config.lr, total_steps=total, cycle_momentum=False
        )
        self.epoch = self.step = 0
        self.losses = torch.zeros(2, device=device)  # sums over this epoch's steps: clean, attacked
        self.curves: list[dict[str, Any]] = []

    def state(self) -> dict[str, Any]:
        """Tensors and plain values from which `restore` goes on bit for bit."""
        parts = {name: getattr(self, name).state_dict() for name in ("network", "auxiliary", "optimizer", "scheduler")}
        return parts | {name: getattr(self, name) for name in ("epoch", "step", "losses", "curves")}

    def restore(self, state: dict[str, Any]) -> None:
        """Go back to a `state`."""
        for name in ("network", "auxiliary", "optimizer", "scheduler"):
            getattr(self, name).load_state_dict(state[name])
        self.epoch, self.step, self.curves = state["epoch"], state["step"], state["curves"]
        self.losses = state["losses"].to(self.losses.device)

    def update(self, clean: Tensor, attacked: Tensor | None) -> None:
        """One step down the sum of both losses."""
        self.optimizer.zero_grad()
        (clean if attacked is None else clean + attacked).backward()
        self.optimizer.step()
        self.scheduler.step()
        self.step += 1
        self.losses += torch.stack([clean.detach(), (clean if attacked is None else attacked).detach()])


def pretrain(
    train: ImageSet, val: ImageSet | None, config: PretrainConfig, advance: Callable[[int], object] = lambda count: None
) -> Pretrained:
    """Train from random weights, or go on from this training's checkpoint in the store.

    Deterministic on one machine with one number of threads. Raises InputError where there are too few images or the
    loss is not finite, DamagedFile for a broken checkpoint.
    """
    batch = min(config.batch, len(train))
    if batch < 2:
        raise InputError("too few images to train on", where="pretrain", expected="two or more", found=len(train))
    device = choose_device(config.device)
    rows, held_out = _on_device(train, device), None if val is None else _on_device(val, device)
    steps = len(train) // batch
    training = _Training(config, len(train.classes), steps, device)
    checkpoint = Checkpoint("pretrain", make_recipe(train, val, config))
    if state := checkpoint.load():
        training.restore(state)
    advance((training.epoch * steps + training.step) * batch)
    saved = time.monotonic()
    for epoch in range(training.epoch, config.epochs):
        order = torch.from_numpy(make_generator("pretrain", config.seed, epoch).permutation(len(train))).to(device)
        size = config.sizes[epoch * len(config.sizes) // config.epochs]
        for step in range(training.step, steps):
            index = order[step * batch : (step + 1) * batch]
            _take_step(training, rows.images[index], rows.labels[index], size, config)
            advance(batch)
            if time.monotonic() - saved > config.checkpoint_seconds:
                checkpoint.save(training.state())
                saved = time.monotonic()
        _end_epoch(training, steps, size, held_out, config)
        checkpoint.save(training.state())
    return Pretrained(training.network.eval(), training.curves)


def make_recipe(train: ImageSet, val: ImageSet | None, config: PretrainConfig) -> dict[str, Any]:
    """Everything that decides what a training comes to; two that are alike share their checkpoints."""
    digest = hashlib.sha256()
    for images in (train,) if val is None else (train, val):
        for column in (images.keys(), np.asarray(images.labels, dtype="<i8")):
            digest.update(np.ascontiguousarray(column).data)
    return {
        "stage": "pretrain",
        "code": CODE_VERSION,
        "images": digest.hexdigest(),
        "classes": list(train.classes),
        "device": device_kind(config.device),
        "threads": torch.get_num_threads(),
        "libraries": {name: version(name) for name in ("torch", "efficientnet-pytorch")},
        **config.model_dump(exclude={"checkpoint_seconds", "device"}),
    }


def _take_step(training: _Training, images: Tensor, labels: Tensor, size: int, config: PretrainConfig) -> None:
    """One batch, clean and attacked; all chance comes from the seed and the number of the step."""
    seed = derived_seed("pretrain", config.seed, training.epoch, training.step)
    generator = torch.Generator(images.device).manual_seed(seed % 2**63)
    inputs = random_crops(images, size, config.min_crop, generator)
    attack = Attack(config.attack_eps, config.attack_step, config.attack_steps)
    half = config.precision == "bfloat16"

    def loss(predict: Callable[[Tensor], Tensor], pixels: Tensor) -> Tensor:
        return functional.cross_entropy(predict(pixels), labels, label_smoothing=config.label_smoothing)

    training.network.train()
    training.auxiliary.train()
    with torch.autocast(images.device.type, torch.bfloat16, enabled=half):
        attacked = None
        if attack.steps:
            moved = perturb(training.predict_attacked, inputs, labels, attack, generator)
            attacked = loss(training.predict_attacked, moved)
        clean = loss(training.predict, inputs)
    training.update(clean, attacked)


def _runner(network: nn.Module, engine: str) -> Callable[[Tensor], Tensor]:
    """Images in 0..255 to logits, prepared as AdvProp wants them."""
    run: Callable[[Tensor], Tensor] = torch.compile(network, dynamic=False) if engine == "compile" else network
    return lambda pixels: run(normalised(pixels)).float()


def normalised(pixels: Tensor) -> Tensor:
    """Pixels 0..255 as AdvProp wants them, 2x - 1."""
    return pixels / MIDDLE - 1


def random_crops(images: Tensor, size: int, min_crop: float, generator: torch.Generator) -> Tensor:
    """uint8 [k, 3, h, w] to float32 [k, 3, size, size] in 0..255: a random crop of each, half of them mirrored.

    Area share uniform from min_crop to 1 and aspect ratio from 3/4 to 4/3, as in Inception (Szegedy et al., 2015).
    """
    k, device = len(images), images.device
    area, aspect, across, down, mirror = torch.rand((5, k), generator=generator, device=device)
    side = (min_crop + (1 - min_crop) * area).sqrt()
    stretch = torch.exp((2 * aspect - 1) * float(np.log(4 / 3)) / 2)
    width, height = (side * stretch).clamp(max=1), (side / stretch).clamp(max=1)
    corners = torch.zeros((k, 2, 3), device=device)  # from the crop's [-1, 1] to the image's
    corners[:, 0, 0] = width * torch.where(mirror < 0.5, -1.0, 1.0)
    corners[:, 1, 1] = height
    corners[:, 0, 2], corners[:, 1, 2] = (1 - width) * (2 * across - 1), (1 - height) * (2 * down - 1)
    grid = functional.affine_grid(corners, [k, 3, size, size], align_corners=False)
    crops = functional.grid_sample(images.float(), grid, padding_mode="border", align_corners=False)
    return crops.contiguous(memory_format=torch.channels_last)


def _end_epoch(
    training: _Training, steps: int, size: int, held_out: ImageBatches | None, config: PretrainConfig
) -> None:
    """Write the epoch's curve and move to the next."""
    clean, attacked = (training.losses / steps).tolist()
    if not np.isfinite(clean + attacked):
        raise InputError("training diverged: the loss is not finite", where="pretrain", remedy="Lower pretrain.lr.")
    curve = {"epoch": training.epoch + 1, "size": size, "lr": training.scheduler.get_last_lr()[0], "train_loss": clean}
    if config.attack_steps:
        curve["train_loss_attacked"] = attacked
    if held_out is not None:
        loss, accuracy = measure(training.network, held_out, size)
        curve |= {"val_loss": loss, "val_accuracy": accuracy}
    training.curves.append(curve)
    training.epoch, training.step = training.epoch + 1, 0
    training.losses.zero_()


def measure(network: nn.Module, rows: ImageBatches, size: int, attack: Attack | None = None) -> tuple[float, float]:
    """Mean cross entropy and accuracy over all images at `size`, clean or attacked through the network itself."""
    network.eval()
    predict = _runner(network, "eager")
    generator = torch.Generator(rows.images.device).manual_seed(0)
    total, right = 0.0, 0
    for images, labels in zip(rows.images.split(EVALUATION_ROWS), rows.labels.split(EVALUATION_ROWS), strict=True):
        pixels = resized(images.float(), size, "bicubic")
        if attack is not None:
            pixels = perturb(predict, pixels, labels, attack, generator)
        with torch.no_grad():
            logits = predict(pixels)
        total += float(functional.cross_entropy(logits, labels, reduction="sum"))
        right += int((logits.argmax(dim=1) == labels).sum())
    return total / len(rows.labels), right / len(rows.labels)


def _on_device(images: ImageSet, device: torch.device) -> ImageBatches:
    pixels = torch.from_numpy(images.images[:]).permute(0, 3, 1, 2).to(device)
    return ImageBatches(pixels, torch.from_numpy(np.asarray(images.labels, dtype=np.int64)).to(device))


def saved_network(network: nn.Module) -> bytes:
    """The whole network, float32, as safetensors."""
    return save({name: tensor.cpu().contiguous() for name, tensor in network.state_dict().items()})


def saved_backbone(network: nn.Module) -> bytes:
    """Convolutions and norms alone, float16, as safetensors."""
    kept = {name: tensor for name, tensor in network.state_dict().items() if not name.startswith(CLASSIFIER)}
    return save({name: tensor.half().cpu().contiguous() for name, tensor in kept.items() if tensor.is_floating_point()})
