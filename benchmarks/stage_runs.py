"""Whole stages as processes of their own, on photos made here: what the benchmarks of the cache share."""

import importlib
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from PIL import Image

from cache.records import FeatureSet
from pipeline.config.params import read_params
from pipeline.runtime.devices import choose_device, tensor_cores
from pipeline.runtime.malloc import keep_freed_memory
from stages._cli import Job

ROOT = Path(__file__).resolve().parents[1]
SAMPLE_SECONDS = 0.02
keep_freed_memory()  # as the stages do; whoever is compared in one process has it too


@dataclass(frozen=True)
class Cost:
    """Of one command: wall time, processor time and highest resident memory of all its processes, and its last line."""

    seconds: float
    processor_seconds: float
    peak_mib: float
    summary: str


@dataclass(frozen=True)
class Place:
    """Photos, a data folder and a store under one folder, and the values that differ from params.yaml."""

    folder: Path
    overrides: tuple[str, ...]

    @property
    def photos(self) -> Path:
        return self.folder / "photos"

    def run(self, stage: str, *more: str, words: Sequence[str] = ()) -> Cost:
        """Run one stage to its end, with more overrides, and words after its name. Raises RuntimeError if it fails."""
        chosen = [f"prepare.source={self.photos}", *self.overrides, *more]
        sets = [part for override in chosen for part in ("--set", override)]
        command = [sys.executable, "-m", f"stages.{stage}", *words, "--data", str(self.folder / "data"), *sets]
        own = os.environ | {"AUGCACHE_STORE": str(self.folder / "store")}
        started = time.perf_counter()
        used = children_seconds()
        with subprocess.Popen(command, cwd=ROOT, env=own, stdout=subprocess.PIPE, text=True) as process:
            peak = peak_memory(process)
            assert process.stdout is not None
            output = process.stdout.read()
        if process.returncode:
            raise RuntimeError(f"{stage} failed: {output}")
        summary = output.strip().splitlines()[-1]
        return Cost(time.perf_counter() - started, children_seconds() - used, peak, summary)


def children_seconds() -> float:
    """Processor time of all processes that this one has started and waited for, and of theirs."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def peak_memory(process: "subprocess.Popen[str]") -> float:
    """MiB of a process and all that it starts, looked at until it ends: often at first, less often in a long run."""
    started = time.monotonic()
    peak = 0
    parent = psutil.Process(process.pid)
    while process.poll() is None:
        total = 0
        for member in family(parent):
            try:
                total += member.memory_info().rss
            except psutil.Error:
                continue
        peak = max(peak, total)
        time.sleep(max(SAMPLE_SECONDS, (time.monotonic() - started) / 1000))
    return peak / 2**20


def family(parent: psutil.Process) -> list[psutil.Process]:
    try:
        return [parent, *parent.children(recursive=True)]
    except psutil.Error:
        return []


def make_photos(folder: Path, numbers: Iterable[int], size: int, seed: int = 0, classes: int = 10) -> None:
    """JPEGs of smooth colours and fine noise, `<class>/<number>.jpg`; other pixels for another number or seed."""
    for number in numbers:
        random = np.random.default_rng([seed, number])
        coarse = Image.fromarray(random.integers(0, 256, (7, 7, 3), dtype=np.uint8))
        smooth = np.asarray(coarse.resize((size, size), Image.Resampling.BICUBIC), dtype=np.int16)
        pixels = np.clip(smooth + random.integers(-20, 21, (size, size, 1)), 0, 255).astype(np.uint8)
        path = folder / f"class_{number % classes}" / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path, quality=90)


def write_json(path: Path, content: Mapping[Any, Any]) -> None:
    """A record: figures, the command that measured them, and the day."""
    command = " ".join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *sys.argv[1:]])
    path.parent.mkdir(parents=True, exist_ok=True)
    origin = {"command": command, "date": datetime.now(UTC).date().isoformat()}
    path.write_text(json.dumps({**origin, **content}, indent=2) + "\n")


def machine() -> str:
    """The processor, its vector instructions, the threads in use, and the GPU if there is one."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    name = names[0] if names else platform.processor() or platform.machine()
    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    return f"{name}, {torch.backends.cpu.get_cpu_capability()}, {torch.get_num_threads()} threads{gpu}"


def median_seconds(work: Callable[[], object], runs: int = 3) -> float:
    """Wall time of one call."""
    times = []
    for _ in range(runs):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def matmul_rate() -> float:
    """Floating-point operations per second of large float32 matrix products; on a GPU in TF32."""
    device = choose_device("auto")
    size = 2048 if device.type == "cpu" else 16384
    matrix = torch.randn(size, size, device=device)
    with tensor_cores(device):
        matrix @ matrix
        return 2 * size**3 / median_seconds(lambda: float((matrix @ matrix)[0, 0]))


def synthetic_features(rows: int, classes: int, seed: int) -> FeatureSet:
    """Gaussian clouds in 1,280 dimensions, float16."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, classes, rows)
    centres = np.random.default_rng(9).normal(0, 0.3, (classes, 1280))
    values = (centres[labels] + random.normal(0, 1, (rows, 1280))).astype(np.float16)
    ids = np.array([b"%064x" % (seed * 10**9 + number) for number in range(rows)])
    return FeatureSet(values, labels, ids, tuple(map(str, range(classes))), "unaugmented", "synthetic")


def run_stages(data: Path, overrides: list[str], stages: list[str]) -> Job:
    """Run those stages, in this process, whose outputs are not there yet; the last one's job."""
    params = read_params(ROOT / "params.yaml", overrides)
    jobs = {stage: Job(stage, params, data, data / stage, quiet=True) for stage in stages}
    for stage, job in jobs.items():
        if not job.has_made(stage):
            importlib.import_module(f"stages.{stage}").run(job)
    return jobs[stages[-1]]
