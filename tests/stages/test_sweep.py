"""The sweep stage leaves tables, a picture and a head that the rest of the pipeline can use."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from cache.errors import InputError
from cache.records import FeatureSet
from cache.writer import write_features
from pipeline.inference.load import load_classifier
from stages._cli import Job
from stages.sweep import run

CLASSES = ("ant", "bee", "cow")
RECIPE = {"backbone": "mini", "weights": "ab"}
GRID = (
    *("sweep.hidden=[[], [16]]", "sweep.lr=[0.003, 0.03]", "sweep.weight_decay=[0.01]", "sweep.dropout=[0.1]"),
    *("sweep.label_smoothing=[0.0]", "sweep.mixup=[0, 0.2]", "sweep.seeds=2", "sweep.folds=3"),
    "augment.variants=[color_1, spatial_1]",
    "train_head.schedule=[unaugmented x 2, color_1 x 2, spatial_1 x 2]",
)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    centres = np.random.default_rng(42).normal(0, 2, (3, 16))
    for number, (split, count) in enumerate({"train": 180, "val": 90, "test": 60}.items()):
        random = np.random.default_rng(number)
        labels = np.arange(count) % 3
        ids = np.array([f"{number}{row:063x}".encode() for row in range(count)], dtype="S64")
        for variant, noise in (("unaugmented", 2.0), ("color_1", 2.5), ("spatial_1", 40.0)):
            rows = (centres[labels] + random.normal(0, noise, (count, 16))).astype(np.float16)
            features = FeatureSet(rows, labels, ids, CLASSES, variant, "mini", RECIPE)
            write_features(tmp_path / "data" / "featurize" / f"{split}-{variant}.h5", features)
    return tmp_path / "data"


def test_the_best_head_is_found_judged_and_saved(data: Path, make_job: Callable[..., Job]) -> None:
    job = make_job("sweep", data, *GRID)
    summary = run(job)
    assert summary.startswith("best of 8 heads: val ") and "over 2 seeds, test " in summary
    with (job.out / "heads.csv").open(newline="") as file:
        heads = list(csv.DictReader(file))
    accuracies = [float(row["val_accuracy"]) for row in heads if row["epochs"] == "6"]
    assert len(heads) == 8 and accuracies == sorted(accuracies, reverse=True) and len(accuracies) == 2
    metrics = json.loads((job.out / "metrics.json").read_text())
    assert {name: metrics[name]["count"] for name in ("val", "test", "folds")} == {"val": 2, "test": 2, "folds": 3}
    assert metrics["best"]["lr"] == float(heads[0]["lr"]) and metrics["val"]["mean"] > 0.85
    assert set(metrics["variants"]) == {"color_1", "spatial_1", "all together"}
    assert (job.out / "sweep.png").read_bytes().startswith(b"\x89PNG")
    classifier = load_classifier(job.out)
    test = job.features("test")["unaugmented"]
    assert classifier.predict(test).correct.mean() == pytest.approx(metrics["test"]["mean"], abs=0.05)
    assert classifier.classes == CLASSES and classifier.temperature != 1.0


def test_a_variant_of_noise_is_worth_less_than_one_of_signal(data: Path, make_job: Callable[..., Job]) -> None:
    job = make_job("sweep", data, *GRID, "sweep.keep=1", "sweep.folds=0", "sweep.hidden=[[]]", "sweep.mixup=[0]")
    run(job)
    with (job.out / "variants.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["class"] for row in rows if row["variant"] == "color_1"] == ["", *CLASSES]
    gains = {row["variant"]: row for row in rows if not row["class"]}
    assert float(gains["spatial_1"]["gain"]) <= float(gains["color_1"]["gain"]) + 0.02


def test_the_same_command_gives_the_same_bytes(data: Path, make_job: Callable[..., Job]) -> None:
    job = make_job("sweep", data, *GRID)
    run(job)
    before = {path.name: path.read_bytes() for path in job.out.iterdir()}
    run(job)
    assert {path.name: path.read_bytes() for path in job.out.iterdir()} == before


def test_without_val_it_says_what_to_set(data: Path, make_job: Callable[..., Job]) -> None:
    for path in (data / "featurize").glob("val-*.h5"):
        path.unlink()
    with pytest.raises(InputError, match=r"chooses on val, and there is none.*Set prepare\.val"):
        run(make_job("sweep", data, *GRID))
