"""A full model over the cache against the same network in a plain torchvision loop over the same images as JPEGs.

    python benchmarks/train.py [--images 2000] [--recipe 002-v2-20-standard] [--repeats 3]

The plain loop is what a tutorial does: ImageFolder, RandomCrop, RandomHorizontalFlip, ToTensor, Normalize, a DataLoader
of as many workers as there are cores. Ours reads the cached ImageSet and augments whole batches. Both train in float32
on the same device; the table ends with the bare network on a batch that is always the same, which neither can beat.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from plain_loop import plain_epochs
from stage_runs import ROOT, machine, write_json
from torch.nn import functional

from cache.records import ImageSet
from pipeline.config.params import read_params
from pipeline.config.recipe import Recipe, read_recipe
from pipeline.networks.factory import make_network
from pipeline.runtime.progress import Watch
from pipeline.training.fit import fit_model
from pipeline.training.optim import make_optimizer

SIDE = 32
CLASSES = 10


def make_images(folder: Path, count: int) -> ImageSet:
    """JPEG files by class, and the same pixels as a set."""
    random = np.random.default_rng(0)
    pixels = []
    labels = np.arange(count) % CLASSES
    for number, label in enumerate(labels):
        coarse = random.integers(0, 255, (8, 8, 3), dtype=np.uint8)
        place = folder / str(label) / f"{number}.jpg"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(coarse).resize((SIDE, SIDE)).save(place, quality=75)
        with Image.open(place) as image:
            pixels.append(np.asarray(image.convert("RGB")))
    ids = np.array([b"%064x" % number for number in range(count)])
    return ImageSet(np.stack(pixels), labels, ids, tuple(str(number) for number in range(CLASSES)))


def ours(images: ImageSet, recipe: Recipe, device: str) -> float:
    """Seconds of one epoch: the second of two, so that start-up is left out."""
    marks: list[float] = []
    values = ["device=" + device, "seeds=1", "engine=eager", "memory_gb=8", "checkpoint_seconds=1e9"]
    settings = read_params(ROOT / "params.yaml", [f"train_model.{value}" for value in values]).train_model
    with tempfile.TemporaryDirectory() as store:
        os.environ["AUGCACHE_STORE"] = store
        next(
            fit_model(
                {"unaugmented": images},
                {},
                recipe,
                settings,
                Watch(log=lambda curve: marks.append(time.perf_counter())),
            )
        )
    return marks[1] - marks[0]


def plain(folder: Path, recipe: Recipe, device: str) -> float:
    """Seconds of one epoch of the tutorial's loop, its workers kept: the second of two."""
    epochs = plain_epochs(folder, recipe, device, 2, SIDE)
    next(epochs)
    started = time.perf_counter()
    next(epochs)
    return time.perf_counter() - started


def bare(count: int, recipe: Recipe, device: str) -> float:
    """Seconds of as many steps on one batch that is there already."""
    network = make_network(recipe.network, CLASSES).to(device).to(memory_format=torch.channels_last)
    optimizer = make_optimizer(network, recipe, None)
    images = torch.randn(recipe.batch, 3, SIDE, SIDE, device=device).to(memory_format=torch.channels_last)
    labels = torch.arange(recipe.batch, device=device) % CLASSES

    def step() -> float:
        loss = functional.cross_entropy(network(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return float(loss)

    step()
    started = time.perf_counter()
    for _ in range(count // recipe.batch):
        step()
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--recipe", default="002-v2-20-standard")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("data/benchmarks/train.json"))
    chosen = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    recipe = read_recipe(chosen.recipe, {"schedule": ["unaugmented x 2"]})
    with tempfile.TemporaryDirectory() as folder:
        images = make_images(Path(folder), chosen.images)
        ways: dict[str, Callable[[], float]] = {
            "torchvision loop over JPEGs": lambda: plain(Path(folder), recipe, device),
            "augcache over the cache": lambda: ours(images, recipe, device),
            "bare network (limit)": lambda: bare(chosen.images, recipe, device),
        }
        times: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(chosen.repeats):  # in turn, so that other load falls on all alike
            for name, way in ways.items():
                times[name].append(way())
    trained = chosen.images // recipe.batch * recipe.batch
    rates = {name: trained / statistics.median(spent) for name, spent in times.items()}
    first = rates["torchvision loop over JPEGs"]
    last = rates["bare network (limit)"]
    print(f"{chosen.recipe} on {device}, {chosen.images:,} images of {SIDE} px, batch {recipe.batch}")
    print(f"{'way':<30}{'images/s':>10}{'ratio':>8}{'of limit':>10}")
    for name, rate in rates.items():
        print(f"{name:<30}{rate:>10.0f}{rate / first:>7.2f}x{rate / last:>10.0%}")
    result = {"recipe": chosen.recipe, "machine": machine(), "images": chosen.images, "images_per_second": rates}
    write_json(chosen.out, result)


if __name__ == "__main__":
    main()
