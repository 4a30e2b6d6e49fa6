"""Does the staged schedule beat a plain logistic regression on the same features? Run after featurize.

    python benchmarks/head_against_baseline.py [--data data] [--set train_head.key=value] [--seeds 3]

The baseline is scikit-learn's multinomial logistic regression on the standardised unaugmented training features, its
regularisation chosen on val-unaugmented, as the head's epoch is. Both are judged once on test-unaugmented; the
interval is of the paired difference, seeds averaged, images resampled.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from cache.reader import read_features
from cache.records import UNAUGMENTED, FeatureSet
from pipeline.classifier import HeadClassifier
from pipeline.config.train_head import TrainHeadConfig
from pipeline.config.whole import read_params
from pipeline.evaluate import paired_interval
from pipeline.head import fit_head
from pipeline.predictions import Predictions

STRENGTHS = (0.0003, 0.001, 0.003, 0.01)  # scikit-learn's C; on val the best lies inside


def find(data: Path, split: str) -> dict[str, FeatureSet]:
    paths = sorted((data / "featurize").glob(f"{split}-*.h5"))
    return {path.stem.removeprefix(f"{split}-"): read_features(path) for path in paths}


def accuracy(predictions: Predictions) -> float:
    return float(predictions.correct.mean())


def predictions_of(model: Any, features: FeatureSet) -> Predictions:
    probabilities = model.predict_proba(features.features[:].astype(np.float32)).astype(np.float32)
    return Predictions(probabilities, features.labels, features.ids, features.classes, features.variant)


def fit_baseline(train: FeatureSet, val: FeatureSet) -> tuple[Any, float, float]:
    """The best of STRENGTHS on val, its C, and the seconds of that one fit."""
    rows, best = train.features[:].astype(np.float32), None
    for strength in STRENGTHS:
        started = time.perf_counter()
        model = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=300))
        model.fit(rows, train.labels)
        seconds = time.perf_counter() - started
        score = accuracy(predictions_of(model, val))
        print(f"  logistic regression C={strength:g}: val {score:.2%} ({seconds:.0f} s)", flush=True)
        if best is None or score > best[0]:
            best = (score, model, strength, seconds)
    assert best is not None
    return best[1], best[2], best[3]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--params", type=Path, default=Path("params.yaml"))
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=None, help="write the figures as JSON too")
    arguments = parser.parse_args()
    config = read_params(arguments.params, arguments.set)["train_head"]
    assert isinstance(config, TrainHeadConfig)
    train, val, test = (find(arguments.data, split) for split in ("train", "val", "test"))
    heads, scores, seconds = [], [], []
    for seed in range(arguments.seeds):
        started = time.perf_counter()
        fit = fit_head(train, val, config.model_copy(update={"seed": seed}))
        seconds.append(time.perf_counter() - started)
        classifier = HeadClassifier(fit.head, train[UNAUGMENTED].classes, train[UNAUGMENTED].recipe)
        heads.append(classifier.predict(test[UNAUGMENTED]))
        scores.append(fit.curves[fit.best_epoch - 1]["val_accuracy"])
        print(f"  head seed {seed}: val {scores[-1]:.2%}, epoch {fit.best_epoch} ({seconds[-1]:.0f} s)", flush=True)
    model, strength, baseline_seconds = fit_baseline(train[UNAUGMENTED], val[UNAUGMENTED])
    baseline = predictions_of(model, test[UNAUGMENTED])
    tops = [accuracy(each) for each in heads]
    difference = paired_interval(heads, [baseline], 0.95)
    figures = {
        "test_images": len(baseline),
        "train_images": len(train[UNAUGMENTED]),
        "backbone": train[UNAUGMENTED].backbone,
        "baseline_top1": accuracy(baseline),
        "baseline_C": strength,
        "baseline_seconds": round(baseline_seconds, 1),
        "head_top1": tops,
        "head_top1_mean": float(np.mean(tops)),
        "head_top1_spread": float(np.std(tops, ddof=1)) if len(tops) > 1 else 0.0,
        "head_seconds": round(float(np.mean(seconds)), 1),
        "difference": [difference.value, difference.low, difference.high],
        "schedule": [str(phase) for phase in config.schedule],
        "torch_threads": torch.get_num_threads(),
    }
    print(f"logistic regression, test top-1  {figures['baseline_top1']:.2%} (C={strength:g})")
    print(f"head, test top-1                 {figures['head_top1_mean']:.2%} ± {figures['head_top1_spread']:.2%}")
    low, high = difference.low, difference.high
    print(f"difference                       {difference.value:+.2%}, 95 % interval {low:+.2%} to {high:+.2%}")
    if arguments.out:
        arguments.out.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
