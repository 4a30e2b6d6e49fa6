"""What each stage takes beside busy processes, against its fair share of the processors.

    python benchmarks/loaded.py [--images 400] [--stages train_head sweep ...] [--suite]

Each stage runs alone, beside as many busy processes as this process may use processors, and beside three times as many.
Its fair share is twice its quiet time, and four times. Aimed at: at most 1.3 and 1.5 times the fair share. --suite:
the test suite as well, which takes an hour.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from stage_runs import ROOT, Place, machine, make_photos, write_json

from pipeline.runtime.threads import usable_threads

SIZE = 32
OVERRIDES = (
    *(f"{stage}.size={SIZE}" for stage in ("prepare", "augment", "featurize")),
    *("featurize.backbone=efficientnet-b0", "featurize.weights=random", "prepare.val=0.2", "prepare.test=none"),
    *("sweep.variants=none", "sweep.seeds=2", "train_model.recipe=002-v2-20-standard"),
    *("train_model.override={schedule: [unaugmented x 2]}", "pretrain.epochs=1", "pretrain.sizes=[32]"),
)
STAGES = ("augment", "featurize", "train_head", "sweep", "train_model", "pretrain")
AIMS = {1: 1.3, 3: 1.5}  # busy processes per processor, and the times of its fair share that a stage may take
BUSY = [sys.executable, "-c", "while True: pass"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=400)
    parser.add_argument("--stages", nargs="*", default=list(STAGES), choices=STAGES)
    parser.add_argument("--suite", action="store_true")
    parser.add_argument("--out", type=Path, default=Path("data/benchmarks/loaded.json"))
    given = parser.parse_args()
    print(f"{given.images} images of {SIZE} px, {usable_threads()} processors; {machine()}")
    columns = "".join(f"{f'{busy}x busy, s':>14}{'of fair':>9}{'aim':>6}" for busy in AIMS)
    print(f"{'':<12}{'quiet, s':>10}{columns}")
    with tempfile.TemporaryDirectory() as folder:
        place = Place(Path(folder), OVERRIDES)
        make_photos(place.photos, range(given.images), SIZE)
        for stage in ("prepare", "augment", "featurize", "train_head"):
            place.run(stage)
        runs: dict[str, Callable[[], float]] = {stage: partial(from_nothing, place, stage) for stage in given.stages}
        if given.suite:
            runs["make test"] = suite
        rows = {name: measure(name, run) for name, run in runs.items()}
    write_json(given.out, {"machine": machine(), "images": given.images, "aims": AIMS, "rows": rows})


def measure(name: str, run: Callable[[], float]) -> dict[str, float]:
    """Seconds alone and under load, and times of the fair share; printed as a row."""
    seconds = {"quiet": run()}
    line = f"{name:<12}{seconds['quiet']:>10.1f}"
    for busy, aim in AIMS.items():
        with busy_processes(busy * usable_threads()):
            seconds[f"{busy}x busy"] = run()
        share = seconds[f"{busy}x busy"] / (seconds["quiet"] * (1 + busy))
        seconds[f"{busy}x busy, of fair"] = share
        line += f"{seconds[f'{busy}x busy']:>14.1f}{share:>8.2f}x{aim:>5}x"
    print(line, flush=True)
    return seconds


def from_nothing(place: Place, stage: str) -> float:
    """Seconds of a stage that finds nothing of its own in the store."""
    shutil.rmtree(place.folder / "store", ignore_errors=True)
    if stage == "augment":
        shutil.rmtree(place.folder / "data" / "augment", ignore_errors=True)
    return place.run(stage).seconds


def suite() -> float:
    started = time.perf_counter()
    subprocess.run(["make", "test"], cwd=ROOT, check=True, capture_output=True)
    return time.perf_counter() - started


@contextmanager
def busy_processes(count: int) -> Iterator[None]:
    """So many processes that compute without end, while the block runs."""
    processes = [subprocess.Popen(BUSY) for _ in range(count)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


if __name__ == "__main__":
    main()
