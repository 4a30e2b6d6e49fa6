"""GAN augmentation: train on training images only, and draw samples of every class as the variant gan_1."""

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cache.errors import InputError
from cache.layout import Array, canonical
from cache.records import ImageSet
from pipeline.config.gan import GanConfig
from pipeline.config.shared.stages import GAN
from pipeline.config.shared.variants import GAN_VARIANT
from pipeline.gan.learners import ConvLearner, Learner, ParallelLearner, RealImages
from pipeline.networks.resize import resized
from pipeline.runtime.checkpoint import Checkpoint
from pipeline.runtime.devices import choose_device, device_kind, reproducible_kernels
from pipeline.runtime.seeds import make_generator

CODE_VERSION = 1
SNAPSHOTS = 5  # over training time
SHOWN = 8  # samples in each snapshot
LOGGED = 100  # losses that are kept, evenly spaced over training
COLLAPSED = 0.05  # least spread of samples as a share of the real images'
BLOCK = 64  # samples drawn together


@dataclass(frozen=True)
class ClassRun:
    """The outcome for one class.

    samples: uint8 [n, s, s, 3], none if it failed. grid: uint8 [t, m, s, s, 3], samples over training time. spread:
    mean deviation of a pixel over the samples, as a share of the real images'. losses: rows of iteration, critic and
    generator, of all classes together if they share a network. failure: why there are no samples, or empty.
    """

    name: str
    samples: Array
    grid: Array
    spread: float
    losses: Sequence[tuple[float, ...]]
    failure: str


def train_gan(
    train: ImageSet, config: GanConfig, advance: Callable[[int], object] = lambda count: None
) -> list[ClassRun]:
    """Train and sample each class that has images, or resume from checkpoints in the store.

    Deterministic on one machine with one number of threads. Raises InputError if a class fails and config.failed is
    `stop`: its samples all look alike although its images do not, or a loss is not finite.
    """
    runs = []
    for chunk in _chunks_of_classes(train, config):
        runs += _train_chunk(_Chunk(train.take(np.flatnonzero(np.isin(train.labels, chunk))), chunk, config), advance)
    failed = [run for run in runs if run.failure]
    if failed and config.failed == "stop":
        remedy = "Lower its learning rate, or set gan.failed to drop."
        raise InputError(f"the GAN failed: {failed[0].failure}", where=f"class {failed[0].name}", remedy=remedy)
    return runs


def iterations_of(train: ImageSet, config: GanConfig) -> int:
    """How many iterations `train_gan` takes for all classes."""
    own = config.wgan if config.kind == "wgan" else config.conv
    return own.iterations * len(_chunks_of_classes(train, config))


def _chunks_of_classes(train: ImageSet, config: GanConfig) -> list[Array]:
    """The classes that have images, int [k] each, as they are trained together."""
    present = np.unique(train.labels)
    step = config.wgan.classes_at_once if config.kind == "wgan" else len(present)
    return np.array_split(present, range(step, len(present), step))


def image_set(train: ImageSet, runs: Sequence[ClassRun], config: GanConfig) -> ImageSet:
    """All samples, class by class. An id is the hash of the recipe, the class and the index of the sample."""
    recipe = {**_recipe(config), "classes": list(train.classes)}
    numbers = [train.classes.index(run.name) for run in runs]
    ids = [
        hashlib.sha256(canonical({"recipe": recipe, "class": run.name, "index": index})).hexdigest()
        for run in runs
        for index in range(len(run.samples))
    ]
    labels = np.repeat(numbers, [len(run.samples) for run in runs]).astype(np.int64)
    empty = np.empty((0, *train.images.shape[1:]), dtype=np.uint8)
    images = np.concatenate([empty, *(run.samples for run in runs)])
    return ImageSet(images, labels, np.array(ids, dtype="S64"), train.classes, GAN_VARIANT, recipe)


@dataclass(frozen=True)
class _Chunk:
    """Images of some classes, in memory; the networks of these classes are trained together."""

    images: ImageSet
    numbers: Array
    config: GanConfig

    @property
    def names(self) -> list[str]:
        return [self.images.classes[number] for number in self.numbers]

    @property
    def iterations(self) -> int:
        return self.config.wgan.iterations if self.config.kind == "wgan" else self.config.conv.iterations

    def decided_by(self) -> dict[str, Any]:
        """Everything that the result of the training depends on."""
        digest = hashlib.sha256(self.images.keys().tobytes() + np.asarray(self.images.labels, dtype="<i8").tobytes())
        inputs = {"images": digest.hexdigest(), "classes": self.names, "samples": self.config.samples}
        return {**_recipe(self.config), **inputs, "threads": torch.get_num_threads()}

    def learner(self, device: torch.device) -> Learner:
        pixels = torch.from_numpy(self.images.images[:]).permute(0, 3, 1, 2).float()
        small = resized(pixels, self.config.size) / 127.5 - 1
        rows = [np.flatnonzero(self.images.labels == number) for number in self.numbers]
        real = RealImages(small.to(device), rows, self.names)
        if self.config.kind == "wgan":
            return ParallelLearner(real, self.config.wgan, self.config.seed)
        return ConvLearner(real, self.config.conv, self.config.seed)

    def samples(self, learner: Learner, count: int, purpose: str) -> Tensor:
        """uint8 [k, n, 3, s, s] of the stored size; black if the network is not finite, which its losses show."""
        config = self.config
        latent = config.wgan.latent if config.kind == "wgan" else config.conv.latent
        generators = [make_generator(GAN, config.seed, name, purpose) for name in self.names]
        rows = [generator.standard_normal((count, latent), dtype=np.float32) for generator in generators]
        noise = torch.from_numpy(np.stack(rows))  # [k, n, latent]
        device = choose_device(config.device)
        drawn = torch.cat([learner.sample(part.to(device)).cpu() for part in noise.split(BLOCK, dim=1)], dim=1)
        return torch.stack([self._stored(images) for images in drawn])

    def _stored(self, images: Tensor) -> Tensor:
        """uint8 [n, 3, s, s] of the stored size from images in -1..1."""
        pixels = resized((images + 1) * 127.5, self.images.images.shape[1])
        return pixels.nan_to_num(0).round().clamp(0, 255).to(torch.uint8)


def _recipe(config: GanConfig) -> dict[str, Any]:
    kind = config.wgan.model_dump() if config.kind == "wgan" else config.conv.model_dump()
    return {
        "stage": GAN,
        "code": CODE_VERSION,
        "kind": config.kind,
        "size": config.size,
        "seed": config.seed,
        **kind,
        "device": device_kind(config.device),
        "libraries": {"torch": version("torch")},
    }


def _train_chunk(chunk: _Chunk, advance: Callable[[int], object]) -> list[ClassRun]:
    checkpoint = Checkpoint(GAN, chunk.decided_by())
    kept = checkpoint.load()
    if kept is None or "samples" not in kept:
        with reproducible_kernels():
            kept = _finish(chunk, checkpoint, kept, advance)
    else:
        advance(chunk.iterations)
    return _class_runs(chunk, kept)


def _finish(
    chunk: _Chunk, checkpoint: Checkpoint, kept: dict[str, Any] | None, advance: Callable[[int], object]
) -> dict[str, Any]:
    """Train to the end and keep samples, snapshots and losses."""
    learner = chunk.learner(choose_device(chunk.config.device))
    state: dict[str, Any] = kept or {"iteration": 0, "losses": [], "grids": []}
    if kept:
        learner.restore(kept["learner"])
        advance(kept["iteration"])
    shots = {round(chunk.iterations * (number + 1) / SNAPSHOTS) for number in range(SNAPSHOTS)}
    every = max(1, chunk.iterations // LOGGED)
    saved = time.monotonic()
    for iteration in range(state["iteration"], chunk.iterations):
        losses = learner.step(iteration)
        state["iteration"] = iteration + 1
        if (iteration + 1) % every == 0 or iteration + 1 == chunk.iterations:
            state["losses"].append((iteration + 1, losses.cpu()))
        if iteration + 1 in shots:
            state["grids"].append(chunk.samples(learner, SHOWN, "grid"))
        advance(1)
        if time.monotonic() - saved > chunk.config.checkpoint_seconds:
            checkpoint.save({**state, "learner": learner.state()})
            saved = time.monotonic()
    drawn = chunk.samples(learner, chunk.config.samples, "samples")
    finished = {"samples": drawn, "grids": torch.stack(state["grids"]), "losses": state["losses"]}
    checkpoint.save(finished)
    return finished


def _class_runs(chunk: _Chunk, kept: dict[str, Any]) -> list[ClassRun]:
    """Each class, without its samples if it has failed."""
    return [_class_run(chunk, kept, position) for position in range(len(chunk.names))]


def _class_run(chunk: _Chunk, kept: dict[str, Any], position: int) -> ClassRun:
    """The class at a position of the chunk."""
    losses = [
        (int(iteration), *(float(row[position % row.shape[0]]) for row in both)) for iteration, both in kept["losses"]
    ]
    samples = kept["samples"][position].permute(0, 2, 3, 1).numpy()
    images = chunk.images.images[:][chunk.images.labels == chunk.numbers[position]]
    real_spread = _spread(images)
    share = _spread(samples) / real_spread if real_spread else 1.0
    failure = ""
    if not np.isfinite([loss for row in losses for loss in row]).all():
        failure = "a loss is not finite"
    elif share < COLLAPSED and len(samples) > 1:
        failure = f"its samples have collapsed to {share:.1%} of the images' spread"
    grid = kept["grids"][:, position].permute(0, 1, 3, 4, 2).numpy()
    name = chunk.names[position]
    return ClassRun(name, samples[:0] if failure else samples, grid, share, losses, failure)


def _spread(images: Array) -> float:
    """Mean over pixels of their standard deviation over uint8 images [n, s, s, 3]."""
    return float(images.std(axis=0, dtype=np.float64).mean())
