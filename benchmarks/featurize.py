"""Featurizing a cached ImageSet by our stage against the loops that users write: whole processes, images to HDF5 file.

    python benchmarks/featurize.py [--size 64] [--images 2000] [--repeats 3] [--peers efficientnet-pytorch timm]

Each peer is EfficientNet-B0, eager, in the published loop: a DataLoader over the same images (batch 32), its network's
pooled features, written to HDF5 at the end. All have random weights, which cost what trained ones cost. `start` is the
same process over one batch, `loop` what more images add to it, and `bare` the network alone on a batch that is there:
loop against bare is how busy the network is kept. The table ends with the limit that this machine's matrix products
set, and the share of it that the network's own arithmetic reaches.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import h5py
import numpy as np
import torch
from stage_runs import ROOT, machine, matmul_rate, median_seconds, write_json
from torch.utils.data import DataLoader, Dataset

from cache.records import ImageSet
from cache.writer import write_images
from pipeline.config.params import read_params
from pipeline.config.shared.featurize import FeaturizeConfig

BATCH = 32
PEERS = ("efficientnet-pytorch", "timm")
MEAN, STD = (torch.tensor(values).view(1, 3, 1, 1) for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--peers", nargs="*", default=list(PEERS))
    parser.add_argument("--set", nargs="*", default=[], help="more of featurize's values, such as engine=compile")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--run", help=argparse.SUPPRESS)  # a peer in its own process
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.run:
        run_peer(given.run, given.file)
        return
    result = compare(given.size, given.images, given.repeats, given.peers, given.set)
    write_json(given.out or Path(f"data/benchmarks/featurize-{given.size}-{given.images}.json"), result)


def compare(size: int, images: int, repeats: int, peers: list[str], more: list[str]) -> dict[str, Any]:
    runs: dict[str, list[tuple[float, float]]] = {name: [] for name in ("augcache", *peers)}
    rates: dict[str, list[float]] = {name: [] for name in runs}
    with tempfile.TemporaryDirectory() as folder:
        few, all_of = (make_set(Path(folder) / str(count), size, count) for count in (BATCH, images))
        for number in range(repeats):  # side by side, so that a noisy minute hits all
            for name, times in runs.items():
                times.append((seconds(name, few, size, number, more), seconds(name, all_of, size, number, more)))
                rates[name].append(bare_rate(name, size, more))
    start, whole = (
        {name: statistics.median(pair[at] for pair in pairs) for name, pairs in runs.items()} for at in (0, 1)
    )
    loop = {name: whole[name] - start[name] for name in runs}
    bare = {name: statistics.median(values) for name, values in rates.items()}
    flops = flops_of_b0(size)
    limit = matmul_rate() / flops
    print(f"EfficientNet-B0, {images:,} images of {size} px, median of {repeats}; {machine()}")
    heads = f"{'loop, /s':>10}{'ratio':>8}{'bare, /s':>10}{'ratio':>8}{'busy':>6}{'of the limit':>14}"
    print(f"{'':<22}{'start, s':>9}{'whole, s':>9}{'ratio':>8}{heads}")
    for name in runs:
        speed = (images - BATCH) / loop[name]
        ratios = whole[name] / whole["augcache"], loop[name] / loop["augcache"], bare["augcache"] / bare[name]
        print(
            f"{name:<22}{start[name]:>9.1f}{whole[name]:>9.1f}{ratios[0]:>7.2f}x{speed:>10,.0f}{ratios[1]:>7.2f}x"
            f"{bare[name]:>10,.0f}{ratios[2]:>7.2f}x{speed / bare[name]:>6.0%}{speed / limit:>14.0%}"
        )
    print(f"limit: {limit:,.0f} images/s at {flops / 1e9:.3f} GFLOP per image and {limit * flops / 1e9:,.0f} GFLOP/s")
    figures = {
        "size": size,
        "images": images,
        "set": more,
        "start_s": start,
        "whole_s": whole,
        "loop_s": loop,
        "bare": bare,
    }
    return {"machine": machine(), **figures, "limit_images_per_s": limit, "runs": runs}


def seconds(name: str, folder: Path, size: int, number: int, more: list[str]) -> float:
    """Of one process: our stage with an empty store, or a peer."""
    command = [sys.executable, __file__, "--run", name, "--file", str(folder / "prepare" / "train.h5")]
    own = {}
    if name == "augcache":
        sets = [part for choice in choices(size, more) for part in ("--set", choice)]
        command = [sys.executable, "-m", "stages.featurize", "--data", str(folder), *sets]
        own = {"AUGCACHE_STORE": str(folder / f"store-{number}")}
    started = time.perf_counter()
    done = subprocess.run(command, cwd=ROOT, env=os.environ | own, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{name} failed: {done.stderr}")
    return time.perf_counter() - started


def choices(size: int, more: list[str]) -> list[str]:
    """What our stage runs with, instead of params.yaml's values."""
    own = ["backbone=efficientnet-b0", "weights=random", f"size={size}", "device=cpu", *more]
    return [f"featurize.{choice}" for choice in own]


def make_set(folder: Path, size: int, count: int) -> Path:
    """A data folder with a prepared set of noise."""
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (count, size, size, 3), dtype=np.uint8)
    ids = np.array([b"%064x" % number for number in range(count)])
    images = ImageSet(pixels, np.arange(count) % 10, ids, tuple("abcdefghij"), "unaugmented")
    (folder / "prepare").mkdir(parents=True)
    write_images(folder / "prepare" / "train.h5", images)
    return folder


class Images(Dataset[tuple[torch.Tensor, int]]):
    """What a user writes: the arrays in memory, one tensor per image."""

    def __init__(self, path: Path) -> None:
        with h5py.File(path) as file:
            self.pixels = file["rows"][:]
            self.labels = file["labels"][:]

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return torch.from_numpy(self.pixels[index]).permute(2, 0, 1).float() / 255, int(self.labels[index])


def run_peer(name: str, path: Path) -> None:
    """The published loop of a peer, in this process."""
    features = make_peer(name)
    blocks = []
    with torch.no_grad():
        for images, _ in DataLoader(Images(path), batch_size=BATCH):
            blocks.append(features((images - MEAN) / STD))
    with h5py.File(path.parents[1] / f"{name}.h5", "w") as file:
        file["features"] = torch.cat(blocks).numpy()


def make_peer(name: str) -> Callable[[torch.Tensor], torch.Tensor]:
    """Normalised images [n, 3, s, s] to pooled features [n, 1280]."""
    if name == "timm":
        import timm

        model = timm.create_model("efficientnet_b0", pretrained=False, num_classes=0)
        return cast(Callable[[torch.Tensor], torch.Tensor], model.eval())
    from efficientnet_pytorch import EfficientNet

    network = EfficientNet.from_name("efficientnet-b0").eval()
    return lambda images: network.extract_features(images).mean(dim=(2, 3))


def bare_rate(name: str, size: int, more: list[str]) -> float:
    """Images per second of the network alone, on normalised batches in memory, after a first call."""
    from pipeline.features.engines import Placement, make_engine  # here, so that a peer's process does not import them
    from pipeline.features.featurizer import Featurizer, batches_at_once

    images = torch.rand(BATCH, 3, size, size)
    if name != "augcache":
        peer = make_peer(name)
        with torch.no_grad():
            peer(images)
            return BATCH / median_seconds(lambda: peer(images), 15)
    config = read_params(ROOT / "params.yaml", choices(size, more)).featurize
    assert isinstance(config, FeaturizeConfig)
    device = torch.device("cpu")
    featurizer = Featurizer(config)
    engine = make_engine(featurizer.engine, featurizer.backbone.network, Placement(device, size, False))
    with batches_at_once(device) as compute:
        batches = [images] * (16 * torch.get_num_threads())  # as many as a part has, so that its end weighs no more
        list(compute(engine, batches[:2]))
        return len(batches) * BATCH / median_seconds(lambda: list(compute(engine, batches)))


def flops_of_b0(size: int) -> float:
    """Multiplications and additions of one image."""
    import timm
    from torch.utils.flop_counter import FlopCounterMode

    network = timm.create_model("efficientnet_b0", pretrained=False, num_classes=0).eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.zeros(1, 3, size, size))
    return float(counter.get_total_flops())


if __name__ == "__main__":
    main()
