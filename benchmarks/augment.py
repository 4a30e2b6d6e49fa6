"""Images per second of both engines against imgaug's batches, albumentations and torchvision, from HDF5 to HDF5.

    python benchmarks/augment.py [--images 600] [--sizes 64 224] [--repeats 3] [--albumentations PYTHON]

Each way reads the same HDF5 file and writes another, in one process and then in two that share the rows; peers do the
steps that come nearest to those of the report's two policies and store the same size. OpenCV and torch have one thread
per process, except imgaug's batches in their own way (batches of 64, OpenCV's threads as they come). A peer that is not
installed is left out; albumentations may live in an environment of its own, whose interpreter is given. Per way the
best of the repeats, taken in turns; start-up and imports are paid before the clock runs.
"""

import argparse
import importlib.util
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import cv2
import h5py
import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]
Way = Callable[[Array, int], Array]

ROOT = Path(__file__).resolve().parent.parent
BATCH = 64
WAYS = ("imgaug batches", "imgaug", "fused", "albumentations", "torchvision")
LIBRARIES = {"albumentations": "albumentations", "torchvision": "torchvision"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=600)
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 224])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--albumentations", default=sys.executable, help="interpreter that has albumentations")
    parser.add_argument("--out", type=Path, default=Path("data/benchmarks/augment.json"))
    given = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    from stage_runs import machine, write_json

    rates: dict[str, dict[str, dict[str, float]]] = {}
    print(f"{given.images} images, best of {given.repeats}; {machine()}")
    print(f"{'':<16}{'way':<16}{'one process':>12}{'two':>10}{'two / one':>10}{'of imgaug batches':>19}")
    for size in given.sizes:
        for policy in ("spatial", "color"):
            measured = measure(policy, size, given)
            rates[f"{policy} {size}"] = measured
            base = measured["imgaug batches"]["one"]
            for way, rate in measured.items():
                ratio = rate["one"] / base
                label = f"{policy}, {size} px"
                print(
                    f"{label:<16}{way:<16}{rate['one']:>12,.0f}{rate['two']:>10,.0f}"
                    f"{rate['two'] / rate['one']:>9.2f}x{ratio:>18.2f}x",
                    flush=True,
                )
    limits = {size: warp_rate(size) for size in given.sizes}
    for size, limit in limits.items():
        print(f"limit, {size} px: OpenCV's own warp alone {limit:,.0f} images/s in one process")
    write_json(given.out, {"machine": machine(), "images": given.images, "rates": rates, "warp": limits})


def measure(policy: str, size: int, given: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Images per second of each way that can run here, in one process and in two, in turns."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = folder / "source.h5"
        with h5py.File(source, "w") as file:
            file["images"] = smooth_images(given.images, size)
        workers = {way: [Worker(way, policy, size, source, folder, given) for _ in range(2)] for way in WAYS}
        running = {way: pair for way, pair in workers.items() if all(worker.is_ready() for worker in pair)}
        best = {way: {"one": 0.0, "two": 0.0} for way in running}
        for _ in range(given.repeats):
            for way, pair in running.items():
                for count, label in ((1, "one"), (2, "two")):
                    seconds = run_side_by_side(pair[:count], given.images)
                    best[way][label] = max(best[way][label], given.images / seconds)
        for pair in workers.values():
            for worker in pair:
                worker.close()
    return best


class Worker:
    """A process that has imported its library and waits for rows to augment."""

    def __init__(self, way: str, policy: str, size: int, source: Path, folder: Path, given: argparse.Namespace) -> None:
        python = given.albumentations if way == "albumentations" else sys.executable
        command = [python, __file__, "--worker", way, policy, str(size), str(source), str(folder)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment,
        )

    def send(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def answer(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def is_ready(self) -> bool:
        return self.answer() == "ready"

    def close(self) -> None:
        self.process.communicate()


def run_side_by_side(workers: list[Worker], images: int) -> float:
    """Seconds until all have written their share of the rows."""
    ends = np.linspace(0, images, len(workers) + 1).astype(int).tolist()
    started = time.perf_counter()
    for worker, start, end in zip(workers, ends[:-1], ends[1:], strict=True):
        worker.send(f"{start} {end}")
    for worker in workers:
        assert worker.answer() == "done"
    return time.perf_counter() - started


def work(way: str, policy: str, size: int, source: Path, folder: Path) -> None:
    """What a worker does: get ready, then rows from one file to another for every line on stdin."""
    if way in LIBRARIES and importlib.util.find_spec(LIBRARIES[way]) is None:
        return
    cv2.setNumThreads(-1 if way == "imgaug batches" else 1)
    augment = MAKERS[way](policy, size)
    with h5py.File(source) as file:
        augment(file["images"][:8], 0)
    print("ready", flush=True)
    for line in sys.stdin:
        start, end = map(int, line.split())
        with h5py.File(source) as file:
            drawn = augment(file["images"][start:end], start)
        with h5py.File(folder / f"{os.getpid()}.h5", "w") as file:
            file["images"] = drawn
        print("done", flush=True)


def by_engine(engine: str) -> Callable[[str, int], Way]:
    """Our policies, seeded per image."""

    def make(policy: str, size: int) -> Way:
        from pipeline.augmentation.policy import make_augmentation
        from pipeline.config.params import read_params

        config = read_params(ROOT / "params.yaml", [f"augment.size={size}", f"augment.engine={engine}"]).augment
        augmentation = make_augmentation(config, f"{policy}_1")
        return lambda images, start: augmentation(
            images, np.array([b"%064x" % number for number in range(start, start + len(images))])
        )

    return make


def by_imgaug_batches(policy: str, size: int) -> Way:
    """imgaug's batch mode, as its documentation has it."""
    from pipeline.augmentation.imgaug_engine import make_sequence
    from pipeline.augmentation.shapes import to_size
    from pipeline.config.params import read_params

    sequence = make_sequence(read_params(ROOT / "params.yaml", []).augment.policies[policy])
    cv2.setNumThreads(-1)  # our engine has set it to one

    def augment(images: Array, start: int) -> Array:
        rows: list[Array] = []
        for first in range(0, len(images), BATCH):
            batch = list(images[first : first + BATCH])
            rows += [to_size(image, size) for image in sequence.augment_images(batch)]
        return np.stack(rows)

    return augment


def by_albumentations(policy: str, size: int) -> Way:
    import albumentations as A  # noqa: N812 - its own documentation's name

    common = {"keep_size": False, "p": 1}
    bright = {"p": 1, "brightness_by_max": True}
    steps = {
        "spatial": [
            A.OneOf([A.Resize(256, 256, interpolation=how) for how in (cv2.INTER_LINEAR, cv2.INTER_CUBIC)], p=1),
            A.Rotate((-45, 45), p=1),
            A.Perspective((0.01, 0.1), **common),
            A.CropAndPad(percent=(-0.1, 0.15), **common),
            A.CoarseDropout((2, 2), (0.2, 0.3), (0.2, 0.3), fill="random_uniform", p=1),
            A.HorizontalFlip(p=2 / 3),
            A.VerticalFlip(p=0.2),
            A.RandomBrightnessContrast((-0.02, 0.02), (-0.1, 0.1), **bright),
        ],
        "color": [
            A.CropAndPad(percent=(-0.1, 0.1), **common),
            A.RandomBrightnessContrast((-0.12, 0.04), (-0.3, 0.1), **bright),
            A.RandomBrightnessContrast((0, 0), (-0.25, 0.5), **bright),
            A.GaussNoise((0, 0.05), p=1),
            A.HueSaturationValue((-50, 50), (-50, 50), (0, 0), p=1),
        ],
    }[policy]
    run = A.Compose([*steps, A.Resize(size, size, interpolation=cv2.INTER_AREA)])
    return lambda images, start: np.stack([run(image=image)["image"] for image in images])


def by_torchvision(policy: str, size: int) -> Way:
    import torch
    from torchvision.transforms import v2

    torch.set_num_threads(1)
    steps = {
        "spatial": [
            v2.Resize((256, 256)),
            v2.RandomRotation(45, v2.InterpolationMode.BILINEAR),
            v2.RandomPerspective(0.1, 1.0),
            v2.RandomResizedCrop(size, (0.7, 1.0), (0.9, 1.1)),
            v2.RandomErasing(1.0, (0.04, 0.09), value="random"),
            v2.RandomErasing(1.0, (0.04, 0.09), value="random"),
            v2.RandomHorizontalFlip(2 / 3),
            v2.RandomVerticalFlip(0.2),
            v2.ColorJitter(0.1),
        ],
        "color": [
            v2.RandomCrop(size, size // 10),
            v2.ColorJitter((0.7, 1.1), (0.75, 1.5), 0.2, 0.2),
            v2.ToDtype(torch.float32, scale=True),
            v2.GaussianNoise(0, 0.025),
            v2.ToDtype(torch.uint8, scale=True),
        ],
    }[policy]
    run = v2.Compose(steps)

    def augment(images: Array, start: int) -> Array:
        return np.stack([run(torch.from_numpy(image).permute(2, 0, 1)).permute(1, 2, 0).numpy() for image in images])

    return augment


MAKERS: dict[str, Callable[[str, int], Way]] = {
    "imgaug batches": by_imgaug_batches,
    "imgaug": by_engine("imgaug"),
    "fused": by_engine("fused"),
    "albumentations": by_albumentations,
    "torchvision": by_torchvision,
}


def warp_rate(size: int) -> float:
    """Images per second of OpenCV's linear warp of this size, and nothing else, in one thread."""
    cv2.setNumThreads(1)
    image = smooth_images(1, size)[0]
    matrix = np.array([[0.94, -0.34, 20], [0.34, 0.94, -10], [1e-5, 1e-5, 1]])
    started = time.perf_counter()
    for _ in range(500):
        cv2.warpPerspective(image, matrix, (size, size))
    return 500 / (time.perf_counter() - started)


def smooth_images(count: int, size: int) -> Array:
    random = np.random.default_rng(0)
    coarse = random.integers(0, 256, (count, 7, 7, 3), dtype=np.uint8)
    return np.stack([cv2.resize(image, (size, size), interpolation=cv2.INTER_CUBIC) for image in coarse])


if __name__ == "__main__":
    if sys.argv[1:2] == ["--worker"]:
        work(sys.argv[2], sys.argv[3], int(sys.argv[4]), Path(sys.argv[5]), Path(sys.argv[6]))
    else:
        main()
