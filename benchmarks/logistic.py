"""The linear head's solver against scikit-learn's: one logistic regression at ten strengths, to the optimum.

    python benchmarks/logistic.py [--rows 20000] [--classes 200] [--features 1280] [--peer]

Rows are made up: class means in a spectrum that falls as that of pooled features does, standardised. --peer solves the
same with scikit-learn's LogisticRegression (lbfgs, its own tolerance, each strength from the one before), which takes
minutes; then both objectives are shown. Aimed at: under 10 s for 20,000 rows of 1,280 features and 200 classes.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from stage_runs import machine, write_json

from cache.layout import Array
from pipeline.heads.logistic import LinearWeights, logistic_path

STRENGTHS = [float(strength) for strength in np.geomspace(1.0, 1e-3, 10)]
AIM = 10.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--classes", type=int, default=200)
    parser.add_argument("--features", type=int, default=1280)
    parser.add_argument("--peer", action="store_true")
    parser.add_argument("--out", type=Path, default=Path("data/benchmarks/logistic.json"))
    given = parser.parse_args()
    features, labels = make_rows(given.rows, given.features, given.classes)
    rows = torch.from_numpy(features)
    targets = torch.from_numpy(labels)
    started = time.perf_counter()
    solved = list(logistic_path(rows, targets, given.classes, STRENGTHS))
    seconds = time.perf_counter() - started
    own = [objective(rows, targets, *pair) for pair in zip(solved, STRENGTHS, strict=True)]
    print(f"{given.rows:,} x {given.features:,}, {given.classes} classes, {len(STRENGTHS)} strengths; {machine()}")
    print(f"augcache      {seconds:8.1f} s (aim {AIM:g} s)   objectives {own[0]:.5f} ... {own[-1]:.5f}")
    figures = {"machine": machine(), "rows": given.rows, "seconds": seconds, "objectives": own}
    if given.peer:
        started = time.perf_counter()
        others = fit_peer(features, labels)
        seconds = time.perf_counter() - started
        theirs = [objective(rows, targets, *pair) for pair in zip(others, STRENGTHS, strict=True)]
        print(f"scikit-learn  {seconds:8.1f} s               objectives {theirs[0]:.5f} ... {theirs[-1]:.5f}")
        figures["scikit-learn"] = {"seconds": seconds, "objectives": theirs}
    write_json(given.out, figures)


def make_rows(count: int, width: int, classes: int) -> tuple[Array, Array]:
    """Standardised features float32 [n, d] and labels int64 [n]."""
    random = np.random.default_rng(0)
    labels = np.arange(count) % classes
    spectrum = (1 + np.arange(width)) ** -0.5
    turn = np.linalg.qr(random.normal(size=(width, width)))[0]
    latent = random.normal(size=(classes, width))[labels] * 0.4 + random.normal(size=(count, width))
    features = ((latent * spectrum) @ turn).astype(np.float32)
    return (features - features.mean(axis=0)) / features.std(axis=0), labels


def objective(rows: torch.Tensor, labels: torch.Tensor, solved: LinearWeights, strength: float) -> float:
    """What `logistic_path` minimises."""
    loss = torch.nn.functional.cross_entropy(rows @ solved.weight + solved.bias, labels)
    return float(loss + strength / 2 * solved.weight.square().sum())


def fit_peer(features: Array, labels: Array) -> list[LinearWeights]:
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(max_iter=1000, warm_start=True)
    solved = []
    for strength in STRENGTHS:
        model.set_params(C=1 / (strength * len(labels)))
        model.fit(features, labels)
        weight = torch.from_numpy(model.coef_.T.copy()).float()
        solved.append(LinearWeights(weight, torch.from_numpy(model.intercept_.copy()).float()))
    return solved


if __name__ == "__main__":
    main()
