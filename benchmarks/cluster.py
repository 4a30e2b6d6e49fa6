"""How do augment and featurize grow with the workers of a dask cluster? A real scheduler on loopback.

    python benchmarks/cluster.py [--images 4000] [--size 64] [--workers 1 2]

Images per second beyond start-up (the same command with everything cached), by number of worker processes of one thread
each, and what a part costs: seconds, bytes, and the scheduler's own processor time per task (beyond an
empty run's).
"""

import argparse
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
from stage_runs import Place, make_photos, write_json

ROWS_PER_TASK = 64
LOOPBACK = ["--host", "127.0.0.1"]
LISTEN = [*LOOPBACK, "--port", "0", "--dashboard-address", "127.0.0.1:0"]
ONE_THREAD = os.environ | {"OMP_NUM_THREADS": "1"}  # as dask's nanny sets it


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=4_000)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--out", type=Path, default=Path("data/benchmarks/cluster.json"))
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp())
    try:
        make_photos(folder / "photos", range(given.images), given.size)
        by_workers = {count: measure(folder, given.images, given.size, count) for count in given.workers}
    finally:
        shutil.rmtree(folder)
    print(f"\n{'workers':8}{'augment':>16}{'featurize':>16}{'s/part':>16}{'scheduler ms/task':>20}")
    for count, row in by_workers.items():
        rates = f"{row['augment']:>10,.0f} img/s{row['featurize']:>10,.0f} img/s"
        parts = f"{row['augment_part']:>8.2f} {row['featurize_part']:>7.2f}"
        print(f"{count:<8}{rates}{parts}{row['scheduler_ms_per_task']:>20.1f}")
    write_json(given.out, by_workers)


def measure(folder: Path, images: int, size: int, workers: int) -> dict[str, float]:
    """Images per second of both stages, seconds per part, the scheduler's milliseconds per task."""
    with cluster(folder / f"cluster-{workers}", workers) as (address, scheduler):
        overrides = (
            "augment.variants=[spatial_1]",
            "augment.keep=pixels",
            "train_head.schedule=[unaugmented x 1]",
            f"prepare.source={folder / 'photos'}",
            *(f"{stage}.size={size}" for stage in ("prepare", "augment", "featurize")),
            *(f"{stage}.scheduler={address}" for stage in ("augment", "featurize")),
            *(f"{stage}.rows_per_task={ROWS_PER_TASK}" for stage in ("augment", "featurize")),
        )
        place = Place(folder / f"place-{workers}", overrides)
        place.run("prepare")
        figures: dict[str, float] = {}
        spent = 0.0
        tasks = 0
        for stage, rows in (("augment", images), ("featurize", 2 * images)):
            warm(place, stage)
            before = busy_seconds(scheduler)
            full = place.run(stage)
            between = busy_seconds(scheduler)
            again = place.run(stage)
            print(f"{workers} workers: {full.summary}", flush=True)
            parts = -(-rows // ROWS_PER_TASK)
            figures[stage] = rows / (full.seconds - again.seconds)
            figures[f"{stage}_part"] = (full.seconds - again.seconds) * workers / parts
            spent += 2 * between - before - busy_seconds(scheduler)  # beyond what the empty run costs
            tasks += parts
        return figures | {"scheduler_ms_per_task": 1000 * spent / tasks}


def busy_seconds(process: psutil.Process) -> float:
    """Processor time used so far."""
    return float(sum(process.cpu_times()[:2]))


def warm(place: Place, stage: str) -> None:
    """Let every worker import and build what the stage needs, on other draws or sizes than are measured."""
    other = Place(place.folder / "warm", (*place.overrides, "prepare.limit_per_class=20"))
    other.run("prepare")
    if stage == "featurize":
        other.run("augment")
    other.run(stage)


@contextlib.contextmanager
def cluster(folder: Path, workers: int) -> Iterator[tuple[str, psutil.Process]]:
    """A scheduler and its workers, each a process of one thread; yields the address and the scheduler."""
    folder.mkdir(parents=True)
    file = folder / "scheduler.json"
    processes = []

    def start(*arguments: str) -> None:
        command = [sys.executable, "-m", "dask", *arguments]
        silent = subprocess.DEVNULL
        processes.append(subprocess.Popen(command, env=ONE_THREAD, stdout=silent, stderr=silent))

    try:
        start("scheduler", *LISTEN, "--scheduler-file", str(file))
        while not (file.exists() and file.read_text().endswith("}")):
            time.sleep(0.1)
        address = str(json.loads(file.read_text())["address"])
        for _ in range(workers):
            options = ["--no-nanny", "--nthreads", "1", "--no-dashboard", "--local-directory", str(folder)]
            start("worker", address, *LOOPBACK, *options)
        yield address, psutil.Process(processes[0].pid)
    finally:
        for process in processes:
            process.kill()
            process.wait()


if __name__ == "__main__":
    main()
