"""GAN augmentation: train on training images alone, and draw samples of every class as the variant gan_1."""

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
from pipeline.config.shared.variants import GAN_VARIANT
from pipeline.gan.learners import ConvLearner, Learner, ParallelLearner, RealImages
from pipeline.networks.resize import resized
from pipeline.runtime.checkpoint import Checkpoint
from pipeline.runtime.devices import choose_device, device_kind
from pipeline.runtime.seeds import make_generator

CODE_VERSION = 1
SNAPSHOTS, SHOWN = 5, 8  # of training over time, and samples in each
LOGGED = 100  # losses of a training that are kept, evenly spread
COLLAPSED = 0.05  # of the real images' spread
BLOCK = 64  # samples drawn together


@dataclass(frozen=True)
class ClassRun:
    """What became of one class.

    samples: uint8 [n, s, s, 3], none where it failed. grid: uint8 [t, m, s, s, 3], samples over training time. spread:
    mean deviation of a pixel over the samples, as a share of the real images'. losses: rows of iteration, critic and
    generator, of all classes together where they share a network. failure: why there are no samples.
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
    """Train and sample each class that has images, or go on from checkpoints in the store.

    Deterministic on one machine with one number of threads. Raises InputError where a class fails and config.failed is
    `stop`: its samples all look alike though its images do not, or a loss is not finite.
    """
    present = np.unique(train.labels)
    step = config.wgan.classes_at_once if config.kind == "wgan" else len(present)
    runs = []
    for chunk in np.array_split(present, range(step, len(present), step)):
        runs += _train_chunk(_Chunk(train.take(np.flatnonzero(np.isin(train.labels, chunk))), chunk, config), advance)
    failed = [run for run in runs if run.failure]
    if failed and config.failed == "stop":
        remedy = "Lower its learning rate, or set gan.failed to drop."
        raise InputError(f"the GAN failed: {failed[0].failure}", where=f"class {failed[0].name}", remedy=remedy)
    return runs


def image_set(train: ImageSet, runs: Sequence[ClassRun], config: GanConfig) -> ImageSet:
    """All samples, class by class. An id is the hash of what made the sample: recipe, class and index."""
    recipe = {**_recipe(config), "classes": list(train.classes)}
    numbers = [train.classes.index(run.name) for run in runs]
    made = [
        hashlib.sha256(canonical({"recipe": recipe, "class": run.name, "index": index})).hexdigest()
        for run in runs
        for index in range(len(run.samples))
    ]
    labels = np.repeat(numbers, [len(run.samples) for run in runs]).astype(np.int64)
    empty = np.empty((0, *train.images.shape[1:]), dtype=np.uint8)
    images = np.concatenate([empty, *(run.samples for run in runs)])
    return ImageSet(images, labels, np.array(made, dtype="S64"), train.classes, GAN_VARIANT, recipe)


@dataclass(frozen=True)
class _Chunk:
    """Images of some classes, in memory, whose networks are trained together."""

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
        """Everything that decides what the training comes to."""
        digest = hashlib.sha256(self.images.keys().tobytes() + np.asarray(self.images.labels, dtype="<i8").tobytes())
        found = {"images": digest.hexdigest(), "classes": self.names, "samples": self.config.samples}
        return {**_recipe(self.config), **found, "threads": torch.get_num_threads()}

    def learner(self, device: torch.device) -> Learner:
        pixels = torch.from_numpy(self.images.images[:]).permute(0, 3, 1, 2).float()
        small = resized(pixels, self.config.size) / 127.5 - 1
        rows = [np.flatnonzero(self.images.labels == number) for number in self.numbers]
        real = RealImages(small.to(device), rows, self.names)
        if self.config.kind == "wgan":
            return ParallelLearner(real, self.config.wgan, self.config.seed)
        return ConvLearner(real, self.config.conv, self.config.seed)

    def samples(self, learner: Learner, number: int, count: int, purpose: str) -> Tensor:
        """uint8 [n, 3, s, s] of the stored size; black where the network is not finite, which its losses tell."""
        config = self.config
        latent = config.wgan.latent if config.kind == "wgan" else config.conv.latent
        chance = make_generator("gan", config.seed, self.names[number], purpose)
        noise = torch.from_numpy(chance.standard_normal((count, latent), dtype=np.float32))
        made = [learner.sample(number, part.to(choose_device(config.device))).cpu() for part in noise.split(BLOCK)]
        pixels = resized((torch.cat(made) + 1) * 127.5, self.images.images.shape[1])
        return pixels.nan_to_num(0).round().clamp(0, 255).to(torch.uint8)


def _recipe(config: GanConfig) -> dict[str, Any]:
    kind = config.wgan.model_dump() if config.kind == "wgan" else config.conv.model_dump()
    return {
        "stage": "gan",
        "code": CODE_VERSION,
        "kind": config.kind,
        "size": config.size,
        "seed": config.seed,
        **kind,
        "device": device_kind(config.device),
        "libraries": {"torch": version("torch")},
    }


def _train_chunk(chunk: _Chunk, advance: Callable[[int], object]) -> list[ClassRun]:
    checkpoint = Checkpoint("gan", chunk.decided_by())
    kept = checkpoint.load()
    if kept is None or "samples" not in kept:
        kept = _finish(chunk, checkpoint, kept, advance)
    else:
        advance(chunk.iterations)
    return list(_judged(chunk, kept))


def _finish(
    chunk: _Chunk, checkpoint: Checkpoint, kept: dict[str, Any] | None, advance: Callable[[int], object]
) -> dict[str, Any]:
    """Train to the end; what is kept then are samples, snapshots and losses."""
    learner = chunk.learner(choose_device(chunk.config.device))
    state: dict[str, Any] = kept or {"iteration": 0, "losses": [], "grids": []}
    if kept:
        learner.restore(kept["learner"])
        advance(kept["iteration"])
    shots = {round(chunk.iterations * (number + 1) / SNAPSHOTS) for number in range(SNAPSHOTS)}
    every, saved = max(1, chunk.iterations // LOGGED), time.monotonic()
    numbers = range(len(chunk.names))
    for iteration in range(state["iteration"], chunk.iterations):
        losses = learner.step(iteration)
        state["iteration"] = iteration + 1
        if (iteration + 1) % every == 0 or iteration + 1 == chunk.iterations:
            state["losses"].append((iteration + 1, losses.cpu()))
        if iteration + 1 in shots:
            state["grids"].append(torch.stack([chunk.samples(learner, each, SHOWN, "grid") for each in numbers]))
        advance(1)
        if time.monotonic() - saved > chunk.config.checkpoint_seconds:
            checkpoint.save({**state, "learner": learner.state()})
            saved = time.monotonic()
    drawn = torch.stack([chunk.samples(learner, each, chunk.config.samples, "samples") for each in numbers])
    finished = {"samples": drawn, "grids": torch.stack(state["grids"]), "losses": state["losses"]}
    checkpoint.save(finished)
    return finished


def _judged(chunk: _Chunk, kept: dict[str, Any]) -> list[ClassRun]:
    """Each class, with its samples where it has not failed."""
    runs = []
    for each, (number, name) in enumerate(zip(chunk.numbers, chunk.names, strict=True)):
        losses = [
            (int(at), float(both[0][each % both.shape[1]]), float(both[1][each % both.shape[1]]))
            for at, both in kept["losses"]
        ]
        samples = kept["samples"][each].permute(0, 2, 3, 1).numpy()
        real = chunk.images.images[:][chunk.images.labels == number]
        real_spread, spread = (float(rows.std(axis=0, dtype=np.float64).mean()) for rows in (real, samples))
        share = spread / real_spread if real_spread else 1.0
        failure = ""
        if not np.isfinite([loss for row in losses for loss in row]).all():
            failure = "a loss is not finite"
        elif share < COLLAPSED and len(samples) > 1:
            failure = f"its samples have collapsed to {share:.1%} of the images' spread"
        grid = kept["grids"][:, each].permute(0, 1, 3, 4, 2).numpy()
        runs.append(ClassRun(name, samples[:0] if failure else samples, grid, share, losses, failure))
    return runs
