"""What cached variants bring: heads and fine-tuned networks with and without them, on the same photos.

    python benchmarks/variants_worth.py --source cifar-10/train --weights FILE --folder worth [--seeds 3]
        [--backbone timm:tf_efficientnetv2_b0] [--size 128] [--per-class 50] [--val 20] [--test 100]
    python benchmarks/variants_worth.py --source digits --backbone efficientnet-lite0 --weights advprop --size 64
        --per-class null --val 0.1 --test 0.2 --no-flip --folder worth-digits

Heads are over all layers. With `--search` the variants are those that `python -m stages.search` finds on the training
images of each draw, and only heads are trained.

Each seed draws training, validation and test images of its own from the source. Everything else is as in params.yaml,
with mirror images among the variants unless `--no-flip` is given. The interval is of the paired difference over the
test images of all seeds. Kept in `--folder`, it goes on after a stop.
"""

import argparse
import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from peers import POLICIES
from stage_runs import ROOT, Place, machine, write_json

from cache.records import UNAUGMENTED
from pipeline.metrics.intervals import paired_interval, spread
from pipeline.metrics.predictions import Predictions, from_npz

LENGTH = "8000 images"  # of the recipe's own schedule
PLAIN = "train_head.schedule=[unaugmented x 12]"
HEADS = {"head": [], "head, unaugmented": [PLAIN]}
MODELS = {
    "fine-tuned": [f"train_model.override={{schedule: [all x {LENGTH}]}}"],
    "fine-tuned, unaugmented": [f"train_model.override={{schedule: [unaugmented x {LENGTH}]}}"],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", required=True)
    parser.add_argument("--backbone", default="timm:tf_efficientnetv2_b0")
    parser.add_argument("--weights", required=True)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--per-class", default="50", help="training images; null: all that are left")
    parser.add_argument("--val", default="20")
    parser.add_argument("--test", default="100")
    parser.add_argument("--no-flip", action="store_true", help="mirrored images are of another class")
    parser.add_argument("--search", action="store_true", help="take the variants that search finds; heads alone")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--folder", type=Path, required=True, help="data and results stay here")
    parser.add_argument("--out", type=Path, default=Path("data/benchmarks/variants_worth.json"))
    given = parser.parse_args()
    tried = HEADS if given.search else HEADS | MODELS
    predictions: dict[str, list[Predictions]] = {name: [] for name in tried}
    for seed in range(given.seeds):
        for name, values in tried.items():
            predicted = predict(given, seed, name, values)
            predictions[name].append(predicted)
            print(f"seed {seed}  {name:<24}{predicted.correct.mean():7.1%} of {len(predicted):,}", flush=True)
    accuracies = {name: [float(run.correct.mean()) for run in runs] for name, runs in predictions.items()}
    for name, shares in accuracies.items():
        print(f"{name:<24} {spread(shares).percent()}")
    pooled = {name: together(runs) for name, runs in predictions.items()}
    gains = {}
    for name, plain in zip(list(tried)[::2], list(tried)[1::2], strict=True):
        gain = paired_interval([pooled[name]], [pooled[plain]], 0.95)
        print(
            f"{name}, cached variants: {100 * gain.value:+.1f} points, {100 * gain.low:+.1f} to {100 * gain.high:+.1f}"
        )
        gains[name] = {"value": gain.value, "low": gain.low, "high": gain.high}
    options = {name: str(value) for name, value in vars(given).items()}
    write_json(given.out, {"machine": machine(), "options": options, "accuracy": accuracies, "gains": gains})


def predict(given: argparse.Namespace, seed: int, name: str, values: Sequence[str]) -> Predictions:
    """What one classifier predicts for the test images of one draw; made by the stages if it is not there."""
    folder = given.folder / f"seed-{seed}"
    path = folder / f"{name}.npz"
    if not path.exists():
        params = folder / "params.yaml"
        place = Place(folder, (*values_of(given), f"prepare.source={given.source}", f"prepare.seed={seed}"))

        def run(stage: str, *more: str) -> None:
            place.run(stage, *more, words=["--params", str(params)])

        if not params.exists():
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / "params.yaml", params)
            run("prepare")
            if given.search:
                run("search")
        for stage in ("augment", "featurize", "train_head"):
            run(stage, *(value for value in values if value == PLAIN))
        is_head = name in HEADS
        chosen = "evaluate.classifier=" + ("train_head" if is_head else "train_model")
        for stage in ("train_model", "evaluate"):
            run(stage, chosen, *(["train_model.recipe=none"] if is_head else values))
        path.write_bytes((folder / "data" / "evaluate" / f"predictions-{UNAUGMENTED}.npz").read_bytes())
    return from_npz(path.read_bytes(), path)


def values_of(given: argparse.Namespace) -> list[str]:
    values: dict[str, Any] = {
        "prepare.val": given.val,
        "prepare.test": given.test,
        "prepare.limit_per_class": given.per_class,
        "prepare.size": given.size,
        "augment.size": given.size,
        "featurize.backbone": given.backbone,
        "featurize.weights": given.weights,
        "featurize.size": given.size,
        "featurize.layers": "all",
        "evaluate.attacks": [],
        "evaluate.corruptions": [],
        "evaluate.worth_seeds": 0,
    }
    if not given.no_flip and not given.search:
        values["augment.policies"] = json.dumps(POLICIES)
    return [f"{key}={value}" for key, value in values.items()]


def together(runs: list[Predictions]) -> Predictions:
    """The predictions of several draws as one."""
    return replace(
        runs[0],
        probabilities=np.concatenate([run.probabilities for run in runs]),
        labels=np.concatenate([run.labels for run in runs]),
        ids=np.concatenate([run.ids for run in runs]),
    )


if __name__ == "__main__":
    main()
