"""Fine-tuning in float32, in bfloat16 throughout, and as `precision: auto` has it: depthwise convolutions in float32.

    python benchmarks/finetune_precision.py [--backbone timm:tf_efficientnetv2_b0] [--size 160] [--images 320]

One epoch of the recipe `finetune`, the second of two. The weights are random: no time hangs on them.
"""

import argparse
import os
import statistics
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path
from unittest.mock import patch

import numpy as np
from stage_runs import ROOT, machine, write_json

from cache.records import UNAUGMENTED, ImageSet
from pipeline.config.params import read_params
from pipeline.config.recipe import read_recipe
from pipeline.features.backbone import make_backbone
from pipeline.runtime.progress import Watch
from pipeline.training import arithmetic
from pipeline.training.fit import fit_model
from pipeline.training.start import linear_head, start_from_head

CLASSES = 10
THROUGHOUT = "bfloat16 throughout"
WAYS = {"float32": "float32", THROUGHOUT: "bfloat16", "bfloat16, depthwise in float32": "bfloat16"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="timm:tf_efficientnetv2_b0")
    parser.add_argument("--size", type=int, default=160)
    parser.add_argument("--images", type=int, default=320)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("data/benchmarks/finetune_precision.json"))
    given = parser.parse_args()
    times: dict[str, list[float]] = {name: [] for name in WAYS}
    for _ in range(given.repeats):  # in turn, so that other load falls on all alike
        for name, spent in times.items():
            spent.append(epoch(given, name))
    rates = {name: given.images / statistics.median(spent) for name, spent in times.items()}
    for name, rate in rates.items():
        print(f"{name:<32}{rate:>8.1f} images/s{rate / rates['float32']:>7.2f}x")
    options = {name: str(value) for name, value in vars(given).items()}
    write_json(given.out, {"machine": machine(), "options": options, "images_per_second": rates})


def epoch(given: argparse.Namespace, way: str) -> float:
    """Seconds of the second of two epochs."""
    random = np.random.default_rng(0)
    pixels = random.integers(0, 255, (given.images, given.size, given.size, 3), dtype=np.uint8)
    ids = np.array([b"%064x" % number for number in range(given.images)])
    images = ImageSet(pixels, np.arange(given.images) % CLASSES, ids, tuple("abcdefghij"), UNAUGMENTED)
    sets = [f"featurize.backbone={given.backbone}", "featurize.weights=random", f"featurize.size={given.size}"]
    params = read_params(ROOT / "params.yaml", [*sets, "train_model.seeds=1", "train_model.engine=eager"])
    backbone = make_backbone(*params.featurize.backbone_arguments).network
    start = start_from_head(linear_head(backbone, CLASSES, given.size), params.featurize)
    recipe = read_recipe("finetune", {"precision": WAYS[way], "schedule": ["unaugmented x 2"]})
    marks: list[float] = []
    watch = Watch(log=lambda curve: marks.append(time.perf_counter()))
    whole = patch.object(arithmetic, "_DepthwiseInFloat32", nullcontext) if way == THROUGHOUT else nullcontext()
    with tempfile.TemporaryDirectory() as store, whole:
        os.environ["AUGCACHE_STORE"] = store
        next(fit_model({UNAUGMENTED: images}, {}, recipe, params.train_model, watch, start))
    return marks[1] - marks[0]


if __name__ == "__main__":
    main()
