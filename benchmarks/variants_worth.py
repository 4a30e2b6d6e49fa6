"""What cached variants bring to fine-tuning: the same start and length with and without them, on the same photos.

    python benchmarks/variants_worth.py --source cifar-10/train --weights FILE --folder worth [--seeds 3]
        [--backbone timm:tf_efficientnetv2_b0] [--size 128] [--per-class 50] [--val 20] [--test 100]

Each seed draws training, validation and test images of its own from the source. Everything else is as in params.yaml,
with mirror images among the variants unless `--no-flip` is given. The interval is of the paired difference over the
test images of all seeds. Kept in `--folder`, it goes on after a stop.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from peers import POLICIES
from stage_runs import Place, machine, write_json

from cache.records import UNAUGMENTED
from pipeline.metrics.intervals import paired_interval, spread
from pipeline.metrics.predictions import Predictions, from_npz

LENGTH = "8000 images"  # of the recipe's own schedule
SCHEDULES = {"with": f"all x {LENGTH}", "without": f"unaugmented x {LENGTH}"}
HEAD = "head"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", required=True)
    parser.add_argument("--backbone", default="timm:tf_efficientnetv2_b0")
    parser.add_argument("--weights", required=True)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--per-class", type=int, default=50)
    parser.add_argument("--val", default="20")
    parser.add_argument("--test", default="100")
    parser.add_argument("--no-flip", action="store_true", help="mirrored images are of another class")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--folder", type=Path, required=True, help="data and results stay here")
    parser.add_argument("--out", type=Path, default=Path("data/benchmarks/variants_worth.json"))
    given = parser.parse_args()
    predictions: dict[str, list[Predictions]] = {name: [] for name in (HEAD, *SCHEDULES)}
    for seed in range(given.seeds):
        for name, predicted in of_seed(given, seed).items():
            predictions[name].append(predicted)
            print(f"seed {seed}  {name:<8} {predicted.correct.mean():7.1%} of {len(predicted):,}", flush=True)
    accuracies = {name: [float(run.correct.mean()) for run in runs] for name, runs in predictions.items()}
    pooled = {name: together(runs) for name, runs in predictions.items()}
    gain = paired_interval([pooled["with"]], [pooled["without"]], 0.95)
    for name, values in accuracies.items():
        print(f"{name:<8} {spread(values).percent()}")
    print(f"cached variants: {100 * gain.value:+.1f} points, {100 * gain.low:+.1f} to {100 * gain.high:+.1f}")
    options = {name: str(value) for name, value in vars(given).items()}
    gains = {"value": gain.value, "low": gain.low, "high": gain.high}
    write_json(given.out, {"machine": machine(), "options": options, "accuracy": accuracies, "gain": gains})


def of_seed(given: argparse.Namespace, seed: int) -> dict[str, Predictions]:
    """What the head and both fine-tuned networks predict for the test images of one draw."""
    folder = given.folder / f"seed-{seed}"
    results = {name: folder / f"{name}.npz" for name in (HEAD, *SCHEDULES)}
    place = Place(folder, (*values_of(given), f"prepare.seed={seed}"))
    source = f"prepare.source={given.source}"
    if not all(path.exists() for path in results.values()):
        for stage in ("prepare", "augment", "featurize", "train_head"):
            place.run(stage, source)
    for name, path in results.items():
        if path.exists():
            continue
        own = ["evaluate.classifier=train_head", "train_model.recipe=none"]
        if name in SCHEDULES:
            own = ["evaluate.classifier=train_model", f"train_model.override={{schedule: [{SCHEDULES[name]}]}}"]
        for stage in ("train_model", "evaluate"):
            place.run(stage, source, *own)
        path.write_bytes((folder / "data" / "evaluate" / f"predictions-{UNAUGMENTED}.npz").read_bytes())
    return {name: from_npz(path.read_bytes(), path) for name, path in results.items()}


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
        "evaluate.attacks": [],
        "evaluate.corruptions": [],
        "evaluate.worth_seeds": 0,
    }
    if not given.no_flip:
        values["augment.policies"] = json.dumps(POLICIES)
    return [f"{key}={value}" for key, value in values.items()]


def together(runs: list[Predictions]) -> Predictions:
    """The predictions of several draws as one."""
    columns = {
        name: np.concatenate([getattr(run, name) for run in runs]) for name in ("probabilities", "labels", "ids")
    }
    return replace(runs[0], **columns)


if __name__ == "__main__":
    main()
