"""The linear head's solver against scikit-learn's: one logistic regression at ten strengths, to the optimum.

    python benchmarks/logistic.py [--rows 20000] [--classes 200] [--features 1280] [--peer]

Rows are made up: class means in a spectrum that falls as that of pooled features does, standardised. --peer solves the
same with scikit-learn's LogisticRegression (lbfgs, its own tolerance, each strength from the one before), which takes
minutes; then both objectives are shown. Aimed at: under 10 s for 20,000 rows of 1,280 features and 200 classes.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from stage_runs import machine, write_json

from cache.layout import Array
from pipeline.heads.logistic import LinearWeights, logistic_path

STRENGTHS = [float(strength) for strength in np.geomspace(1.0, 1e-3, 10)]
AIM = 10.0
Figures = dict[str, float | list[float]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--classes", type=int, default=200)
    parser.add_argument("--features", type=int, default=1280)
    parser.add_argument("--peer", action="store_true")
    parser.add_argument("--out", type=Path, default=Path("data/benchmarks/logistic.json"))
    given = parser.parse_args()
    features, labels = make_rows(given.rows, given.features, given.classes)
    shape = {"rows": given.rows, "features": given.features, "classes": given.classes, "strengths": STRENGTHS}
    print(f"{given.rows:,} x {given.features:,}, {given.classes} classes, {len(STRENGTHS)} strengths; {machine()}")
    solvers = {"augcache": solve} | ({"scikit-learn": fit_peer} if given.peer else {})
    figures = {name: timed(name, solver, features, labels) for name, solver in solvers.items()}
    print(f"aimed at: {AIM:g} s")
    write_json(given.out, {"machine": machine(), **shape, "aim": AIM, "solvers": figures})


def timed(name: str, solver: Callable[[Array, Array], list[LinearWeights]], features: Array, labels: Array) -> Figures:
    """Seconds of a solver, and the objective that it reaches at each strength."""
    started = time.perf_counter()
    solved = solver(features, labels)
    seconds = time.perf_counter() - started
    rows = torch.from_numpy(features)
    targets = torch.from_numpy(labels)
    reached = [objective(rows, targets, *pair) for pair in zip(solved, STRENGTHS, strict=True)]
    print(f"{name:14}{seconds:8.1f} s   objectives {reached[0]:.5f} ... {reached[-1]:.5f}", flush=True)
    return {"seconds": seconds, "objectives": reached}


def solve(features: Array, labels: Array) -> list[LinearWeights]:
    return list(logistic_path(torch.from_numpy(features), torch.from_numpy(labels), int(labels.max()) + 1, STRENGTHS))


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
