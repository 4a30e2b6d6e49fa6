"""GANs: each class depends on its own images only, a kill changes no bit, and a failed class is named."""

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from models import coloured
from PIL import Image
from torch import nn
from torch.nn import functional

from cache.errors import InputError
from cache.records import ImageSet
from pipeline.config.gan import GanConfig
from pipeline.gan import fit as module
from pipeline.gan.conv_gan import ConvCritic, ConvGenerator
from pipeline.gan.diff_augment import augment_alike
from pipeline.gan.fit import ClassRun, image_set, iterations_of, train_gan
from pipeline.gan.grid import grid_png
from pipeline.gan.wgan import ParallelCritic, ParallelGenerator, ParallelLinear, ParallelNorm
from pipeline.runtime.seeds import make_generator

WGAN: dict[str, Any] = {
    "iterations": 6,
    "batch": 4,
    "critic_steps": 2,
    "lr": 0.001,
    "clip": 0.05,
    "latent": 5,
    "hidden": [8, 12],
    "critic_hidden": [8],
    "classes_at_once": 3,
}
CONV: dict[str, Any] = {
    "iterations": 6,
    "batch": 6,
    "critic_steps": 1,
    "lr": 0.001,
    "critic_lr": 0.001,
    "latent": 5,
    "width": 4,
    "ema": 0.5,
    "augment": True,
}


def config(kind: str = "wgan", **changes: Any) -> GanConfig:
    plain: dict[str, Any] = {"size": 8, "samples": 5, "failed": "drop", "seed": 0, "device": "cpu"}
    section = {"kind": kind, **plain, "checkpoint_seconds": 1000, "wgan": WGAN, "conv": CONV}
    for key, value in changes.items():
        section[key] = {**section[key], **value} if isinstance(value, dict) else value
    return GanConfig(**section)


TRAIN = coloured(24, 1)


def names(runs: list[ClassRun]) -> dict[str, bytes]:
    return {run.name: run.samples.tobytes() for run in runs}


@pytest.mark.parametrize("kind", ["wgan", "conv"])
def test_samples_have_the_stored_size_and_ids_of_their_own(kind: str) -> None:
    runs = train_gan(TRAIN, config(kind))
    samples = image_set(TRAIN, runs, config(kind))
    assert samples.images.shape == (15, 12, 12, 3) and samples.variant == "gan_1"
    assert samples.labels.tolist() == [0] * 5 + [1] * 5 + [2] * 5
    assert len(set(samples.ids.tolist())) == 15 and not np.isin(samples.ids, TRAIN.ids).any()
    assert runs[0].grid.shape[1:] == (8, 12, 12, 3) and [row[0] for row in runs[0].losses][-1] == 6
    again = image_set(TRAIN, runs, config(kind, seed=1))
    assert not np.isin(again.ids, samples.ids).any()


@pytest.mark.parametrize("kind", ["wgan", "conv"])
def test_a_killed_training_resumes_bit_for_bit(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUGCACHE_STORE", str(tmp_path / "quiet"))
    quiet = train_gan(TRAIN, config(kind))
    monkeypatch.setenv("AUGCACHE_STORE", str(tmp_path / "killed"))
    learner = module.ParallelLearner if kind == "wgan" else module.ConvLearner
    whole = learner.step
    seen = [0]

    def dies(self: Any, iteration: int) -> torch.Tensor:
        seen[0] += 1
        if seen[0] == 4:
            raise KeyboardInterrupt
        return whole(self, iteration)

    monkeypatch.setattr(learner, "step", dies)
    with pytest.raises(KeyboardInterrupt):
        train_gan(TRAIN, config(kind, checkpoint_seconds=0))
    torch.manual_seed(9)
    resumed = train_gan(TRAIN, config(kind, checkpoint_seconds=0))
    assert names(resumed) == names(quiet) and seen[0] == 7
    assert [run.losses for run in resumed] == [run.losses for run in quiet]
    assert [run.grid.tobytes() for run in resumed] == [run.grid.tobytes() for run in quiet]
    assert names(train_gan(TRAIN, config(kind))) == names(quiet) and seen[0] == 7  # finished ones are kept


def test_a_class_of_the_wgan_depends_on_no_other() -> None:
    """Trained alone or beside others: the same samples, except for the last bits of a batched product."""
    together = {run.name: run.samples for run in train_gan(TRAIN, config())}
    alone = {run.name: run.samples for run in train_gan(TRAIN, config(wgan={"classes_at_once": 1}))}
    for name, samples in together.items():
        assert np.abs(samples.astype(int) - alone[name].astype(int)).max() <= 1
    others = TRAIN.images[:].copy()
    others[TRAIN.labels != 0] = 0
    changed = {run.name: run.samples for run in train_gan(replace(TRAIN, images=others), config())}
    assert np.abs(changed["red"].astype(int) - together["red"].astype(int)).max() <= 1
    assert not np.array_equal(changed["blue"], together["blue"])


def test_parallel_layers_are_those_of_torch_side_by_side() -> None:
    own = [make_generator("test", number) for number in range(3)]
    linear = ParallelLinear(own, 4, 6)
    x = torch.randn(3, 5, 4)
    for number in range(3):
        expected = functional.linear(x[number], linear.weight[number].T, linear.bias[number, 0])
        torch.testing.assert_close(linear(x)[number], expected)
    norm = ParallelNorm(3, 4)
    plain = nn.BatchNorm1d(4)
    torch.testing.assert_close(norm(x)[1], plain(x[1]))
    torch.testing.assert_close(norm.mean[1, 0], plain.running_mean)
    assert ParallelGenerator(own, 5, [8], 8)(torch.randn(3, 2, 5)).shape == (3, 2, 192)
    assert ParallelCritic(own, [8], 8)(torch.randn(3, 2, 192)).shape == (3, 2)


def test_the_critics_weights_stay_within_the_clip() -> None:
    chunk = module._Chunk(TRAIN, np.arange(3), config())
    learner = chunk.learner(torch.device("cpu"))
    assert isinstance(learner, module.ParallelLearner)
    assert max(float(tensor.detach().abs().max()) for tensor in learner.critic.parameters()) > 0.05  # as drawn
    for iteration in range(3):
        learner.step(iteration)
    assert max(float(tensor.detach().abs().max()) for tensor in learner.critic.parameters()) <= 0.05 + 1e-7


def test_the_wgan_learns_the_colour_of_its_class() -> None:
    chosen = config(wgan={"iterations": 150, "lr": 0.002, "clip": 0.1}, samples=20)
    for run in train_gan(TRAIN, chosen):
        colour = run.samples.mean(axis=(0, 1, 2))
        assert int(colour.argmax()) == TRAIN.classes.index(run.name)


def test_the_convolutional_one_learns_the_colour_of_each_class() -> None:
    chosen = config("conv", conv={"iterations": 400, "width": 8, "batch": 12, "ema": 0.9}, samples=20)
    right = [
        int(run.samples.mean(axis=(0, 1, 2)).argmax()) == TRAIN.classes.index(run.name)
        for run in train_gan(TRAIN, chosen)
    ]
    assert sum(right) == 3


@pytest.mark.parametrize("size", [8, 16, 32, 64])
def test_networks_fit_every_size(size: int) -> None:
    noise = torch.randn(2, 5)
    labels = torch.tensor([0, 1])
    images = ConvGenerator(2, 5, 2, size)(noise, labels)
    assert images.shape == (2, 3, size, size) and float(images.detach().abs().max()) <= 1
    assert ConvCritic(2, 2, size)(images, labels).shape == (2,)


@pytest.mark.parametrize("kind", ["wgan", "conv"])
def test_one_image_per_class_and_odd_sizes_are_enough(kind: str) -> None:
    """Samples of a single image may well be all alike: that is no collapse."""
    few = coloured(3, 1, size=13)
    runs = train_gan(few, config(kind))
    assert [run.name for run in runs] == list(few.classes)
    assert [run.failure for run in runs] == ["", "", ""]
    assert [run.samples.shape for run in runs] == [(5, 13, 13, 3)] * 3


def test_a_class_without_images_has_no_samples() -> None:
    two = TRAIN.take(np.flatnonzero(TRAIN.labels != 1))
    samples = image_set(two, train_gan(two, config()), config())
    assert set(samples.labels.tolist()) == {0, 2} and samples.classes == TRAIN.classes


def test_collapse_and_divergence_are_found_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def grey(_: Any, noise: torch.Tensor) -> torch.Tensor:
        return torch.zeros(*noise.shape[:2], 3, 8, 8)

    monkeypatch.setattr(module.ParallelLearner, "sample", grey)
    runs = train_gan(TRAIN, config())
    assert all("collapsed to 0.0% of the images' spread" in run.failure for run in runs)
    assert len(image_set(TRAIN, runs, config())) == 0
    with pytest.raises(InputError, match=r"class red: the GAN failed: .*collapsed.*gan\.failed to drop"):
        train_gan(TRAIN, config(failed="stop"))
    monkeypatch.undo()
    diverged = train_gan(TRAIN, config("conv", conv={"lr": 1e30, "critic_lr": 1e30}))
    assert {run.failure for run in diverged} == {"a loss is not finite"}


def test_augmentation_is_differentiable_seeded_and_each_images_own() -> None:
    images = torch.zeros(6, 3, 16, 16).uniform_(-1, 1).requires_grad_()
    seeded = [torch.Generator().manual_seed(3) for _ in range(2)]
    first, second = (augment_alike(images, generator) for generator in seeded)
    assert torch.equal(first, second) and first.shape == images.shape
    first.sum().backward()
    assert images.grad is not None and bool((images.grad != 0).any())
    same = augment_alike(torch.ones(6, 3, 16, 16) * 0.3, torch.Generator().manual_seed(0))
    assert len({float(image.max()) for image in same}) > 1
    cut = (same == 0).float().mean(dim=(1, 2, 3))
    assert float(cut.min()) > 0.05 and float(cut.max()) < 0.5


def test_a_grid_shows_rows_by_columns() -> None:
    grid = np.zeros((2, 3, 4, 5, 3), dtype=np.uint8)
    grid[1, 2] = 200
    with Image.open(io.BytesIO(grid_png(grid))) as picture:
        assert picture.size == (15, 8)
        shown = np.asarray(picture)
    assert (shown[4:, 10:] == 200).all() and shown[:4].sum() == 0


@pytest.mark.parametrize("kind", ["wgan", "conv"])
def test_samples_depend_on_images_and_seed_alone(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each training begins in an empty store: no checkpoint gives the answer of the one before."""

    def samples(images: ImageSet, store: str, **changes: Any) -> dict[str, bytes]:
        monkeypatch.setenv("AUGCACHE_STORE", str(tmp_path / store))
        torch.manual_seed(len(list(tmp_path.iterdir())))
        return names(train_gan(images, config(kind, **changes)))

    first = samples(TRAIN, "first")
    assert samples(coloured(24, 1), "equal") == first
    assert samples(coloured(24, 2), "other_images") != first
    assert samples(TRAIN, "other_seed", seed=1) != first


@pytest.mark.parametrize("kind", ["wgan", "conv"])
def test_the_iterations_of_a_training_are_known_before_it(kind: str) -> None:
    seen: list[int] = []
    train_gan(TRAIN, config(kind), seen.append)
    assert sum(seen) == iterations_of(TRAIN, config(kind))
