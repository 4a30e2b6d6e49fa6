"""Does the staged schedule beat a plain logistic regression on the same features? Run after featurize.

    python benchmarks/head_against_baseline.py [--data data] [--set train_head.key=value] [--seeds 3]

Two baselines, both scikit-learn's LogisticRegression on the standardised unaugmented training features: `plain`, as it
comes (C=1), and `tuned`, its C chosen on val-unaugmented as the head's epoch is. All are evaluated once on test, clean
and on every augmented variant; intervals are of the paired difference, seeds averaged, images resampled.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from cache.reader import read_features
from cache.records import UNAUGMENTED, FeatureSet
from pipeline.config.params import read_params
from pipeline.config.train_head import TrainHeadConfig
from pipeline.heads.fit import fit_head
from pipeline.inference.classifier import HeadClassifier
from pipeline.metrics.intervals import paired_interval
from pipeline.metrics.predictions import Predictions

Sets = dict[str, FeatureSet]
STRENGTHS = (0.0003, 0.001, 0.003, 0.01)  # scikit-learn's C; on val the best lies inside


def find(data: Path, split: str) -> dict[str, FeatureSet]:
    paths = sorted((data / "featurize").glob(f"{split}-*.h5"))
    return {path.stem.removeprefix(f"{split}-"): read_features(path) for path in paths}


def accuracy(predictions: Predictions) -> float:
    return float(predictions.correct.mean())


def predictions_of(model: Any, features: FeatureSet) -> Predictions:
    probabilities = model.predict_proba(features.features[:].astype(np.float32)).astype(np.float32)
    return Predictions(probabilities, features.labels, features.ids, features.classes, features.variant)


def fit_baseline(train: FeatureSet, strength: float) -> Any:
    model = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=1000))
    return model.fit(train.features[:].astype(np.float32), train.labels)


def fit_baselines(train: FeatureSet, val: FeatureSet) -> dict[str, Any]:
    """`plain` with C=1, and `tuned`, the best of STRENGTHS on val."""
    models = {}
    scores = {}
    for strength in (1.0, *STRENGTHS):
        started = time.perf_counter()
        models[strength] = fit_baseline(train, strength)
        scores[strength] = accuracy(predictions_of(models[strength], val))
        seconds = time.perf_counter() - started
        print(f"  logistic regression C={strength:g}: val {scores[strength]:.2%} ({seconds:.0f} s)", flush=True)
    return {"plain": models[1.0], "tuned": models[max(STRENGTHS, key=scores.__getitem__)]}


def fit_heads(
    train: dict[str, FeatureSet], val: dict[str, FeatureSet], config: TrainHeadConfig, seeds: int
) -> list[Any]:
    """One head per seed."""
    heads = []
    for seed in range(seeds):
        started = time.perf_counter()
        fit = fit_head(train, val, config.model_copy(update={"seed": seed}))
        seconds = time.perf_counter() - started
        score = fit.curves[fit.best_epoch - 1]["val_accuracy"]
        print(f"  head seed {seed}: val {score:.2%}, epoch {fit.best_epoch} ({seconds:.0f} s)", flush=True)
        heads.append(HeadClassifier(fit.head, train[UNAUGMENTED].classes, train[UNAUGMENTED].recipe))
    return heads


def compare(heads: list[Any], baselines: dict[str, Any], test: FeatureSet) -> dict[str, Any]:
    """Top-1 of each on one variant of test, and the paired differences."""
    ours = [head.predict(test) for head in heads]
    tops = [accuracy(predictions) for predictions in ours]
    figures: dict[str, Any] = {"head": tops, "mean": float(np.mean(tops)), "spread": float(np.std(tops, ddof=1))}
    for name, model in baselines.items():
        theirs = predictions_of(model, test)
        gain = paired_interval(ours, [theirs], 0.95)
        figures[name] = {"top1": accuracy(theirs), "gain": gain.value, "low": gain.low, "high": gain.high}
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--params", type=Path, default=Path("params.yaml"))
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=None, help="write the figures as JSON too")
    arguments = parser.parse_args()
    config = read_params(arguments.params, arguments.set).train_head
    assert isinstance(config, TrainHeadConfig)
    train, val, test = (find(arguments.data, split) for split in ("train", "val", "test"))
    heads = fit_heads(train, val, config, arguments.seeds)
    baselines = fit_baselines(train[UNAUGMENTED], val[UNAUGMENTED])
    figures = {variant: compare(heads, baselines, features) for variant, features in test.items()}
    columns = "".join(f"{name:>9}{'gain, 95 % interval':>27}" for name in baselines)
    print(f"\n{'test variant':<14}{'head':>16}{columns}")
    for variant, row in figures.items():
        line = f"{variant:<14}{row['mean']:>9.2%} ± {row['spread']:.2%}"
        for name in baselines:
            other = row[name]
            interval = f"{other['gain']:+.2%} [{other['low']:+.2%}, {other['high']:+.2%}]"
            line += f"{other['top1']:>9.2%}{interval:>27}"
        print(line)
    if arguments.out:
        about = {
            "schedule": [str(phase) for phase in config.schedule],
            "train_images": len(train[UNAUGMENTED]),
            "backbone": train[UNAUGMENTED].backbone,
        }
        arguments.out.write_text(json.dumps({**about, "test": figures}, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
