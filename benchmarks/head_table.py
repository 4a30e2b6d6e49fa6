"""Our default head against a tuned logistic regression on the same features: one table over many cells.

    python benchmarks/head_table.py [--cifar FOLDER] [--tiny FOLDER] [--weights FILE] [--work FOLDER] [--cells TEXT ...]

A cell is a data set, a backbone and a number of training images per class, averaged over up to three draws of training
images that have none in common. The peer uses the last layer; our head that alone too, and then all of them
(`featurize.layers=all`).

FOLDER holds `train/<class>` and `test/<class>`; `--weights` is for EfficientNetV2-B0. Features are made by the stages
on the first run and kept in `--work`. The peer is scikit-learn's LogisticRegression after StandardScaler; its C is the
best of the strengths that our head tries, by accuracy in five folds of the same rows (these inner fits by our solver,
whose optimum is the same). `gain` is in points of test accuracy, with the 95 % interval of the paired difference over
test images, draws averaged.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch
from head_features import Network, Source, make_features
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from stage_runs import ROOT, machine, write_json

from cache.reader import read_features
from cache.records import UNAUGMENTED, FeatureSet
from pipeline.config.params import read_params
from pipeline.config.shared.featurize import ALL, LAST
from pipeline.config.shared.schedule import Phase
from pipeline.heads.choose import choose_head
from pipeline.heads.families import STRENGTHS
from pipeline.heads.folds import fold_numbers
from pipeline.heads.groups import narrowed
from pipeline.heads.logistic import logistic_path
from pipeline.inference.classifier import HeadClassifier
from pipeline.metrics.intervals import paired_interval
from pipeline.metrics.predictions import Predictions

FOLDS = 5
CELLS = {"digits": (20, 10_000), "cifar": (20, 50), "tiny": (20, 50)}
MINI = "efficientnet-mini"
V2 = "timm:tf_efficientnetv2_b0"
RELU = "timm:resnet18"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cifar")
    parser.add_argument("--tiny")
    parser.add_argument("--weights")
    parser.add_argument("--work", type=Path, default=Path("data/benchmarks/head_table"))
    parser.add_argument("--draws", type=int, default=3, help="at most")
    parser.add_argument("--cells", nargs="*", default=[], help="only cells whose name holds one of these")
    parser.add_argument("--out", type=Path, default=Path("data/benchmarks/head_table.json"))
    given = parser.parse_args()
    heads = f"{'ours':>8}{'gain, 95 % interval':>22}{'all layers':>12}{'gain, 95 % interval':>22}"
    print(f"{machine()}\n{'cell':<40}{'logistic':>9}{heads}  chosen", flush=True)
    rows = []
    for source, network, count in cells(given):
        name = f"{source.name} {network.name} {count if count < 10_000 else 'all'}"
        if given.cells and not any(text in name for text in given.cells):
            continue
        cell = compare(make_features(source, network, given.work), source, count, given.draws)
        rows.append({"cell": name, **cell})
        print(
            f"{name:<40}{cell['logistic']:>9.1f}{shown(cell[LAST])}{shown(cell[ALL], 12)}  {cell[LAST]['chosen']}",
            flush=True,
        )
        write_json(given.out, {"machine": machine(), "cells": rows})
    means = {layers: float(np.mean([row[layers]["gain"] for row in rows])) for layers in (LAST, ALL)}
    print(f"{'mean':<40}{'':>17}{means[LAST]:>+22.2f}{'':>12}{means[ALL]:>+22.2f}")


def shown(figures: dict[str, Any], width: int = 8) -> str:
    interval = f"{figures['gain']:+.1f} [{figures['low']:+.1f}, {figures['high']:+.1f}]"
    return f"{figures['accuracy']:>{width}.1f}{interval:>22}"


def cells(given: argparse.Namespace) -> list[tuple[Source, Network, int]]:
    """Every cell whose data and weights are at hand."""
    fractions = ("prepare.val=0.1", "prepare.test=0.2")
    official = ("prepare.val=5", "prepare.test=official")
    turns = ("turn_1", "turn_2", "turn_3", "turn_4")
    sources = [Source("digits", "digits", 64, fractions, turns)]
    if given.cifar:
        split = (*official, "prepare.limit_per_class=155")
        sources.append(Source("cifar", given.cifar, 32, split, ("flip_1", "mild_1", "mild_2", "mild_3")))
    if given.tiny:
        split = (*official, "prepare.limit_per_class=65")
        sources.append(Source("tiny", given.tiny, 64, split, ("flip_1", "mild_1")))
    small = {"digits": 64, "cifar": 64, "tiny": 64}
    networks = [Network(MINI, "advprop", small), Network(RELU, "random", small)]
    if given.weights:
        networks.append(Network(V2, given.weights, {"digits": 64, "cifar": 128, "tiny": 96}))
    return [(source, network, count) for source in sources for network in networks for count in CELLS[source.name]]


def compare(folder: Path, source: Source, count: int, most: int) -> dict[str, Any]:
    """Test accuracy on `count` training images per class, in percent, and paired differences, over `most` draws."""
    train = {name: read_features(folder / f"train-{name}.h5") for name in (UNAUGMENTED, *source.variants)}
    val = block(read_features(folder / f"val-{UNAUGMENTED}.h5"), max(1, count // 10), 0)
    test = read_features(folder / f"test-{UNAUGMENTED}.h5")
    schedule = [Phase(UNAUGMENTED, 2), *(Phase(name, 2) for name in source.variants), Phase(UNAUGMENTED, 2)]
    config = read_params(ROOT / "params.yaml").train_head.model_copy(update={"schedule": schedule})
    smallest = int(np.bincount(train[UNAUGMENTED].labels).min())
    draws = range(max(1, min(most, smallest // count)))
    theirs = []
    ours: dict[str, list[Predictions]] = {LAST: [], ALL: []}
    kinds: dict[str, list[str]] = {LAST: [], ALL: []}
    for draw in draws:
        rows = {name: block(features, count, draw) for name, features in train.items()}
        theirs.append(logistic_regression(narrowed(rows[UNAUGMENTED]), narrowed(test), config.seed))
        for layers, chosen in ((LAST, narrowed), (ALL, whole)):
            own = {name: chosen(features) for name, features in rows.items()}
            choice = choose_head(own, {UNAUGMENTED: chosen(val)}, config)
            head = HeadClassifier(choice.fit.head, test.classes, chosen(test).recipe, choice.fit.temperature)
            ours[layers].append(head.predict(chosen(test)))
            kinds[layers].append(f"{'trained' if choice.fit.best_epoch else 'linear'}, {choice.evidence}")
    cell: dict[str, Any] = {"logistic": percent(theirs), "draws": len(draws)}
    for layers, predictions in ours.items():
        gain = paired_interval(predictions, theirs, 0.95)
        cell[layers] = {
            "accuracy": percent(predictions),
            **{
                name: 100 * getattr(gain, field)
                for name, field in (("gain", "value"), ("low", "low"), ("high", "high"))
            },
            "chosen": "; ".join(dict.fromkeys(kinds[layers])),
        }
    return cell


def whole(features: FeatureSet) -> FeatureSet:
    """All layers, as they are."""
    return features


def percent(predictions: list[Predictions]) -> float:
    return 100 * float(np.mean([draw.correct for draw in predictions]))


def block(features: FeatureSet, count: int, draw: int) -> FeatureSet:
    """`count` rows of each class, in memory: those after the rows of earlier draws."""
    labels = range(len(features.classes))
    places = [np.flatnonzero(features.labels == label)[draw * count : (draw + 1) * count] for label in labels]
    return features.take(np.sort(np.concatenate(places)))


def logistic_regression(train: FeatureSet, test: FeatureSet, seed: int) -> Predictions:
    """Scikit-learn's, tuned by folds."""
    scaler = StandardScaler().fit(train.features[:].astype(np.float32))
    rows = torch.from_numpy(scaler.transform(train.features[:].astype(np.float32)))
    labels = torch.from_numpy(np.asarray(train.labels, dtype=np.int64))
    folds = fold_numbers(train, FOLDS, seed)
    right = np.zeros(len(STRENGTHS))
    for fold in range(FOLDS):
        outside = folds != fold
        path = logistic_path(rows[outside], labels[outside], len(train.classes), STRENGTHS)
        for number, head in enumerate(path):
            predicted = (rows[~outside] @ head.weight + head.bias).argmax(dim=1)
            right[number] += int((predicted == labels[~outside]).sum())
    strength = STRENGTHS[int(right.argmax())]
    peer = make_pipeline(StandardScaler(), LogisticRegression(C=1 / (strength * len(train)), max_iter=300))
    peer.fit(train.features[:].astype(np.float32), train.labels)
    probabilities = peer.predict_proba(test.features[:].astype(np.float32)).astype(np.float32)
    return Predictions(probabilities, test.labels, test.ids, test.classes, test.variant)


if __name__ == "__main__":
    main()
