"""What the steps of benchmarks/gpu.sh share: figures, sizes of a dry run, and how busy the GPU was."""

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cache.records import ImageSet
from pipeline.config.params import Params, read_params

ROOT = Path(__file__).resolve().parents[2]
DRY = "--dry-run" in sys.argv
DEVICE = "cpu" if DRY else "cuda"
SAMPLE_SECONDS = 0.2


def record(figure: str, **values: Any) -> None:
    """Write one figure at once, as a line of JSON; a killed step keeps those before it."""
    line = json.dumps({"figure": figure, **values}, default=float)
    print(line, flush=True)
    path = os.environ.get("GPU_FIGURES")
    if path:
        with open(path, "a", encoding="utf-8") as file:
            file.write(line + "\n")


def params(*overrides: str) -> Params:
    """params.yaml with values put in."""
    return read_params(ROOT / "params.yaml", list(overrides))


def wait() -> None:
    """Until the device has done all that it was given."""
    if DEVICE == "cuda":
        torch.cuda.synchronize()


@dataclass
class Gauge:
    """Seconds, highest memory in GiB and mean utilisation in percent, of the block that it watched."""

    seconds: float = 0.0
    memory: float = 0.0
    busy: list[float] = field(default_factory=list)

    def figures(self) -> dict[str, Any]:
        utilisation = round(sum(self.busy) / len(self.busy), 1) if self.busy else None
        return {"seconds": round(self.seconds, 3), "memory_gib": round(self.memory, 2), "utilisation": utilisation}


@contextmanager
def gauged() -> Iterator[Gauge]:
    """Watch a block of work; the card's settings are read, never changed."""
    gauge = Gauge()
    stop = threading.Event()
    thread = threading.Thread(target=_sample, args=(gauge, stop), daemon=True)
    if DEVICE == "cuda":
        torch.cuda.reset_peak_memory_stats()
        thread.start()
    started = time.perf_counter()
    try:
        yield gauge
        wait()
    finally:
        gauge.seconds = time.perf_counter() - started
        stop.set()
        if DEVICE == "cuda":
            gauge.memory = torch.cuda.max_memory_allocated() / 2**30
            thread.join(timeout=5)


def _sample(gauge: Gauge, stop: threading.Event) -> None:
    program = shutil.which("nvidia-smi")
    if program is None:
        return
    query = [program, "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits"]
    while not stop.wait(SAMPLE_SECONDS):
        said = subprocess.run(query, capture_output=True, text=True, check=False).stdout.split()
        if said and said[0].isdecimal():
            gauge.busy.append(float(said[0]))


def coloured_images(count: int, size: int, classes: int, seed: int = 0) -> ImageSet:
    """Noise over a colour that tells the class: uint8 [n, size, size, 3]."""
    random = np.random.default_rng(seed)
    labels = np.arange(count) % classes
    colours = np.random.default_rng(1).integers(40, 216, (classes, 3))
    noise = random.normal(0, 30, (count, size, size, 3))
    pixels = np.clip(colours[labels][:, None, None, :] + noise, 0, 255).astype(np.uint8)
    ids = np.array([b"%064x" % (seed * 10**9 + number) for number in range(count)])
    return ImageSet(pixels, labels, ids, tuple(f"class {number}" for number in range(classes)))


def prepared(split: str, data: Path | None, dry_images: int) -> ImageSet:
    """A split of the prepared CIFAR-10; in a dry run coloured noise."""
    from cache.reader import read_images

    if DRY or data is None:
        return coloured_images(dry_images, 32, 10, seed=0 if split == "train" else 1)
    return read_images(data / "prepare" / f"{split}.h5")


def option(name: str, default: str = "") -> str:
    """The value after `--name` on the command line."""
    flag = f"--{name}"
    return sys.argv[sys.argv.index(flag) + 1] if flag in sys.argv else default


def folder_option(name: str) -> Path | None:
    """A path on the command line; None if it was not given or is empty."""
    value = option(name)
    return Path(value) if value else None


def rate_of(work: Callable[[], object], times: int) -> float:
    """Calls per second, after three to warm up."""
    for _ in range(3):
        work()
    with gauged() as gauge:
        for _ in range(times):
            work()
    return times / gauge.seconds
