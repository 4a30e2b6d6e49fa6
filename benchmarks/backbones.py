"""A tuned linear head on each backbone's features: the table of docs/backbones.md.

    python benchmarks/backbones.py --data cifar-10=PATH tiny-imagenet=PATH --size 128 \
        --backbones efficientnet-mini:advprop efficientnet-lite0:imagenet timm:tf_efficientnetv2_b0=PATH

A source is whatever `prepare` reads, with an official test split. `<backbone>:<weights>` or `<backbone>=<file>`. The
head is scikit-learn's logistic regression on standardised features, its C chosen on a fifth of train. Rates are those
of the featurizer alone, per second of processor time. Prints a table in Markdown.
"""

import argparse
import subprocess
import sys
import tempfile
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from stage_runs import ROOT, machine, write_json

from cache.reader import read_images
from cache.records import ImageSet
from pipeline.config.params import read_params
from pipeline.features.featurizer import Featurizer

GRID = (0.0003, 0.001, 0.003, 0.01, 0.03, 0.1)  # values of C


@dataclass(frozen=True)
class Result:
    """One backbone on one set of images. accuracy: of test; rate: images per second."""

    backbone: str
    data: str
    accuracy: float
    rate: float
    megabytes: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", required=True, help="name=source")
    parser.add_argument("--backbones", nargs="+", required=True)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--per-class", type=int, default=50)
    parser.add_argument("--test-images", type=int, default=2000)
    parser.add_argument("--out", type=Path, default=Path("data/benchmarks/backbones.json"))
    given = parser.parse_args()
    results = []
    with tempfile.TemporaryDirectory() as folder:
        for entry in given.data:
            name, _, source = entry.partition("=")
            prepare(Path(folder) / name, source, given.size, given.per_class)
            train, test = sets(Path(folder) / name, given.test_images)
            for backbone in given.backbones:
                result = measure(backbone, name, given.size, train, test)
                results.append(result)
                print(result, file=sys.stderr, flush=True)
    print_table(results, given)
    write_json(given.out, {"machine": machine(), "results": [vars(result) for result in results], **shown(given)})


def shown(given: argparse.Namespace) -> dict[str, Any]:
    return {"size": given.size, "per_class": given.per_class, "test_images": given.test_images}


def prepare(folder: Path, source: str, size: int, per_class: int) -> None:
    values = [f"source={source}", f"size={size}", f"limit_per_class={per_class}", "val=none", "test=official"]
    sets = [part for value in values for part in ("--set", f"prepare.{value}")]
    command = [sys.executable, "-m", "stages.prepare", "--data", str(folder), "--quiet", *sets]
    subprocess.run(command, cwd=ROOT, check=True, stdout=sys.stderr)


def sets(folder: Path, test_images: int) -> tuple[ImageSet, ImageSet]:
    train = read_images(folder / "prepare" / "train.h5")
    test = read_images(folder / "prepare" / "test.h5")
    order = np.random.default_rng(0).permutation(len(test))[:test_images]
    return train, test.take(np.sort(order))


def measure(named: str, data: str, size: int, train: ImageSet, test: ImageSet) -> Result:
    featurizer = Featurizer(read_params(ROOT / "params.yaml", choices(named, size)).featurize)
    keys = np.zeros(max(len(train), len(test)), dtype="S64")
    featurizer(train.images[:32], keys[:32])  # starts the engine
    started = time.process_time()
    features = [featurizer(images.images[:], keys[: len(images)]) for images in (train, test)]
    rate = (len(train) + len(test)) / (time.process_time() - started)
    accuracy = linear_accuracy(features, train.labels, test.labels)
    tensors = featurizer.backbone.tensors.values()
    megabytes = sum(tensor.numel() * tensor.element_size() for tensor in tensors) / 1e6
    return Result(named.partition("=")[0], data, accuracy, rate, megabytes)


def choices(named: str, size: int) -> list[str]:
    """What `<backbone>:<weights>` or `<backbone>=<file>` sets."""
    backbone, _, weights = named.partition("=") if "=" in named else named.rpartition(":")
    preprocessing = "imagenet" if "=" in named else "auto"
    values = [f"backbone={backbone}", f"weights={weights}", f"size={size}", "device=cpu", "dtype=float32"]
    return [f"featurize.{value}" for value in [*values, f"preprocessing={preprocessing}"]]


def linear_accuracy(
    features: list[np.ndarray[Any, Any]], labels: np.ndarray[Any, Any], test: np.ndarray[Any, Any]
) -> float:
    """Of test, by a logistic regression whose C a fifth of train has chosen."""
    rows, held_out, targets, held_targets = train_test_split(
        features[0], labels, test_size=0.2, stratify=labels, random_state=0
    )
    scores = {c: head(c).fit(rows, targets).score(held_out, held_targets) for c in GRID}
    best = max(scores, key=lambda c: scores[c])
    return float(head(best).fit(features[0], labels).score(features[1], test))


def head(c: float) -> Any:
    warnings.filterwarnings("ignore", message="lbfgs failed to converge")
    return make_pipeline(StandardScaler(), LogisticRegression(C=c, max_iter=100))


def print_table(results: list[Result], given: argparse.Namespace) -> None:
    names = list(dict.fromkeys(result.data for result in results))
    print(f"{given.per_class} training images per class, {given.size} px; {machine()}\n")
    print(f"| backbone | {' | '.join(names)} | images per second of one core | MB |")
    print("|---|" + "---|" * (len(names) + 2))
    for backbone in dict.fromkeys(result.backbone for result in results):
        own = [result for result in results if result.backbone == backbone]
        cells = " | ".join(f"{result.accuracy:.1%}" for result in own)
        rate = np.mean([result.rate for result in own])
        print(f"| `{backbone}` | {cells} | {rate:,.0f} | {own[0].megabytes:,.1f} |")


if __name__ == "__main__":
    main()
