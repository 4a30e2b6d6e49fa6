"""Many small GANs at once against one after another: classes per second, and what bounds it.

python benchmarks/gan.py [--classes 20] [--size 32] [--repeats 3]
"""

import argparse
import statistics
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
import yaml
from stage_runs import machine, write_json

from pipeline.config.gan import WganConfig
from pipeline.gan.learners import ParallelLearner, RealImages

ITERATIONS = 3
IMAGES = 40


def real_images(classes: int, size: int) -> RealImages:
    """Noise: a step costs the same on any images."""
    images = torch.rand((classes * IMAGES, 3, size, size), generator=torch.Generator().manual_seed(0)) * 2 - 1
    rows = [np.arange(IMAGES) + IMAGES * number for number in range(classes)]
    return RealImages(images, rows, [str(number) for number in range(classes)])


def seconds(classes: int, at_once: int, size: int, config: WganConfig) -> float:
    """Of one iteration of every class, `at_once` together."""
    learners = [ParallelLearner(real_images(at_once, size), config, 0) for _ in range(classes // at_once)]
    for learner in learners:
        learner.step(0)
    started = time.perf_counter()
    for learner in learners:
        for iteration in range(ITERATIONS):
            learner.step(iteration + 1)
    return (time.perf_counter() - started) / ITERATIONS


def bandwidth() -> float:
    """Bytes per second of adding one large array to another in place, the two read and one written."""
    total, other = torch.zeros(2, 50_000_000)
    total += other
    started = time.perf_counter()
    for _ in range(5):
        total += other
    return float(5 * 3 * total.numel() * 4 / (time.perf_counter() - started))


def traffic(size: int, config: WganConfig) -> float:
    """Bytes of weights that one iteration of one class moves at least.

    RMSprop reads weight, gradient and average and writes two of them. A critic's step runs the generator forward, the
    critic twice forward and back, and clips; a generator's step runs both forward and back.
    """

    def weights(widths: list[int]) -> int:
        return sum(inputs * outputs for inputs, outputs in pairwise(widths))

    pixels = 3 * size * size
    descent = 5
    generator = weights([config.latent, *config.hidden, pixels])
    critic = weights([pixels, *config.critic_hidden, 1])
    critic_step = generator + critic * (2 + 2 + 2 + descent + 2)
    generator_step = generator * (1 + 1 + 1 + descent) + critic * 3
    return 4 * (config.critic_steps * critic_step + generator_step)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--classes", type=int, default=20)
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("data/benchmarks/gan.json"))
    chosen = parser.parse_args()
    params = yaml.safe_load((Path(__file__).parents[1] / "params.yaml").read_text(encoding="utf-8"))
    report = {**params["gan"]["wgan"], "classes_at_once": 1}
    small = {**report, "hidden": [16, 32], "critic_hidden": [16]}
    rows = []
    for name, values in (("report 001's widths", report), ("small networks", small)):
        config = WganConfig(**values)
        groups = [count for count in (1, 2, 5, 10, chosen.classes) if chosen.classes % count == 0]
        times = {
            count: statistics.median(seconds(chosen.classes, count, chosen.size, config) for _ in range(chosen.repeats))
            for count in groups
        }
        for count, spent in times.items():
            rate = chosen.classes / spent
            limit = bandwidth() / traffic(chosen.size, config)
            rows.append({"networks": name, "at_once": count, "classes_per_second": rate, "ratio": times[1] / spent,
                         "of_bandwidth": rate / limit})  # fmt: skip
    print(f"{'networks':<22}{'at once':>8}{'class-iterations/s':>20}{'ratio':>8}{'of bandwidth':>14}")
    for row in rows:
        print(
            f"{row['networks']:<22}{row['at_once']:>8}{row['classes_per_second']:>20.1f}"
            f"{row['ratio']:>7.2f}x{row['of_bandwidth']:>13.0%}"
        )
    write_json(chosen.out, {"machine": machine(), "rows": rows})


if __name__ == "__main__":
    main()
