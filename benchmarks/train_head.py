"""One head over cached features against the ways that users train one: rows per second.

    python benchmarks/train_head.py [--rows 100000] [--classes 200] [--hidden 512] [--batch 512] [--repeats 3]

Synthetic features of 1,280 columns. Ours is `fit_head` over float16 features in memory, with validation off; the peers
are a DataLoader over the rows of an HDF5 file (one by one, as most code reads them) into the same torch network, and
scikit-learn's MLPClassifier of the same shape on float32 features in memory. Peers see fewer rows where they are slow
(`--peer-rows`); a rate is a rate. Ratios are medians over rounds of all four, and the last row is the limit that this
machine's matrix products set.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import torch
from sklearn.neural_network import MLPClassifier
from stage_runs import ROOT, machine, matmul_rate, synthetic_features, write_json
from torch import nn
from torch.utils.data import DataLoader, Dataset

from cache.records import FeatureSet
from pipeline.config.params import read_params
from pipeline.config.train_head import TrainHeadConfig
from pipeline.heads.fit import fit_head

EPOCHS = 2


class Rows(Dataset[tuple[torch.Tensor, int]]):
    """Rows of an HDF5 file, opened once, read one by one."""

    def __init__(self, path: Path) -> None:
        self.file = h5py.File(path)
        self.features = self.file["features"]
        self.labels = self.file["labels"][:]

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return torch.from_numpy(self.features[index]).float(), int(self.labels[index])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--peer-rows", type=int, default=10_000)
    parser.add_argument("--classes", type=int, default=200)
    parser.add_argument("--hidden", type=int, default=512)
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--set", nargs="*", default=[], help="more of train_head's values, such as precision=bfloat16")
    parser.add_argument("--out", type=Path, default=Path("data/benchmarks/train_head.json"))
    given = parser.parse_args()
    whole = synthetic_features(given.rows, given.classes, 0)
    few = whole.take(np.arange(given.peer_rows))
    width = whole.features.shape[1]
    flops = 4 * width * given.hidden + 6 * given.hidden * given.classes  # nobody needs the gradient of the features
    measures: dict[str, Callable[[], float]] = {
        "augcache": lambda: our_rate(whole, given),
        "MLPClassifier": lambda: sklearn_rate(few, given),
        "DataLoader over HDF5 rows": lambda: loader_rate(few, given),
        "limit": lambda: matmul_rate() / flops,
    }
    fit(few, given)  # what a process does once
    rounds = [{name: measure() for name, measure in measures.items()} for _ in range(given.repeats)]  # side by side
    print(f"{width}-{given.hidden}-{given.classes}, batch {given.batch}, {given.rows:,} rows; {machine()}")
    print(f"{'':<28}{'rows/s':>10}{'ours is':>10}{'of the limit':>14}")
    for name in measures:
        rate = statistics.median(rates[name] for rates in rounds)
        ahead = statistics.median(rates["augcache"] / rates[name] for rates in rounds)
        share = statistics.median(rates[name] / rates["limit"] for rates in rounds)
        print(f"{name:<28}{rate:>10,.0f}{ahead:>9.1f}x{share:>13.0%}")
    sizes = {name: value for name, value in vars(given).items() if name != "out"}
    write_json(given.out, {"machine": machine(), **sizes, "rounds": rounds})


def our_rate(train: FeatureSet, given: argparse.Namespace) -> float:
    started = time.perf_counter()
    fit(train, given)
    return EPOCHS * len(train) / (time.perf_counter() - started)


def fit(train: FeatureSet, given: argparse.Namespace) -> None:
    """Ours, with the optimizer of the peers."""
    chosen = [
        *given.set,
        "dropout=0",
        "optimizer=adamw",
        f"hidden=[{given.hidden}]",
        f"batch={given.batch}",
        "lr=0.001",
        "lr_schedule=constant",
    ]
    phases = f"schedule=[unaugmented x {EPOCHS}]"
    config = read_params(ROOT / "params.yaml", [f"train_head.{choice}" for choice in (*chosen, phases)]).train_head
    assert isinstance(config, TrainHeadConfig)
    fit_head({"unaugmented": train}, {}, config)


def sklearn_rate(train: FeatureSet, given: argparse.Namespace) -> float:
    features = train.features[:].astype(np.float32)
    peer = MLPClassifier((given.hidden,), batch_size=given.batch, max_iter=EPOCHS, tol=0)
    started = time.perf_counter()
    peer.fit(features, train.labels)
    return EPOCHS * len(train) / (time.perf_counter() - started)


def loader_rate(train: FeatureSet, given: argparse.Namespace) -> float:
    """What most code does; one epoch, shuffled."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "features.h5"
        with h5py.File(path, "w") as file:
            file["features"] = train.features[:]
            file["labels"] = train.labels
        width = train.features.shape[1]
        head = nn.Sequential(nn.Linear(width, given.hidden), nn.ReLU(), nn.Linear(given.hidden, given.classes))
        optimizer = torch.optim.AdamW(head.parameters(), 0.001)
        started = time.perf_counter()
        for features, labels in DataLoader(Rows(path), batch_size=given.batch, shuffle=True):
            loss = nn.functional.cross_entropy(head(features), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return len(train) / (time.perf_counter() - started)


if __name__ == "__main__":
    main()
