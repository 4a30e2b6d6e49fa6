"""Images a second of our per-image seeded policies, and of the fused ones, against imgaug's own batch mode.

    python benchmarks/augment.py [--images 1000] [--size 64] [--processes 2] [--repeats 3]

imgaug: one process, `augment_images` on batches of 64, OpenCV's threads as they come, then resizing to the stored size
as our policies do it. Ours: the same policy, seeded by image, in one process and in several that are warm. A fused
policy stands against the one that it fuses.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import cv2
import numpy as np
from stage_runs import ROOT, machine, write_json

from cache.layout import Array
from pipeline.augmentation.policy import Augmentation, make_augmentation, make_sequence
from pipeline.config.augment import AugmentConfig
from pipeline.config.params import read_params

BATCH = 64


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("data/benchmarks/augment.json"))
    given = parser.parse_args()
    images = smooth_images(given.images, given.size)
    config = read_params(ROOT / "params.yaml", [f"augment.size={given.size}"]).augment
    assert isinstance(config, AugmentConfig)
    found = {}
    print(f"{given.images} images of {given.size} px, median of {given.repeats}; {machine()}")
    print(
        f"{'policy':<16}{'imgaug, batches':>16}{'ours, 1':>12}{'ratio':>8}{f'ours, {given.processes}':>12}{'ratio':>8}"
    )
    for variant in ("spatial_1", "fused_spatial_1", "color_1", "fused_color_1"):
        made, plain = (make_augmentation(config, name) for name in (variant, variant.removeprefix("fused_")))
        ways = (lambda plain=plain: run_imgaug(plain, images), lambda made=made: run_ours(made, images))
        with ProcessPoolExecutor(given.processes) as pool:
            shares = np.array_split(images, 4 * given.processes)
            list(pool.map(run_ours, [made] * given.processes, [images[:4]] * given.processes))  # imports
            many = lambda made=made, shares=shares, pool=pool: list(pool.map(run_ours, [made] * len(shares), shares))  # noqa: E731
            rates = [len(images) / one for one in side_by_side([*ways, many], given.repeats)]
        found[variant] = dict(zip(("imgaug", "one", "many"), rates, strict=True))
        ratios = [rate / rates[0] for rate in rates]
        cells = f"{rates[0]:>16,.0f}{rates[1]:>12,.0f}{ratios[1]:>7.2f}x{rates[2]:>12,.0f}{ratios[2]:>7.2f}x"
        print(f"{variant:<16}{cells}")
    write_json(given.out, {"machine": machine(), "images": given.images, "rates": found})


def side_by_side(ways: list[Callable[[], object]], repeats: int) -> list[float]:
    """Median seconds of each, taken in turns."""
    times: list[list[float]] = [[] for _ in ways]
    for _ in range(repeats):
        for each, way in zip(times, ways, strict=True):
            started = time.perf_counter()
            way()
            each.append(time.perf_counter() - started)
    return [statistics.median(each) for each in times]


def run_ours(made: Augmentation, images: Array) -> int:
    ids = np.array([b"%064x" % number for number in range(len(images))])
    return len(made(images, ids))


def run_imgaug(made: Augmentation, images: Array) -> None:
    """Its batch mode, as its documentation has it."""
    sequence = make_sequence(json.loads(made.steps))
    cv2.setNumThreads(-1)
    for start in range(0, len(images), BATCH):
        for image in sequence.augment_images(list(images[start : start + BATCH])):
            cv2.resize(image, (made.size, made.size), interpolation=cv2.INTER_AREA)
    cv2.setNumThreads(1)


def smooth_images(count: int, size: int) -> Array:
    random = np.random.default_rng(0)
    coarse = random.integers(0, 256, (count, 7, 7, 3), dtype=np.uint8)
    return np.stack([cv2.resize(one, (size, size), interpolation=cv2.INTER_CUBIC) for one in coarse])


if __name__ == "__main__":
    main()
