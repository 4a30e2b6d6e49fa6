"""train_head: from cached features to a saved classifier, its curves and its metrics."""

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cache.errors import RecordError, StorageError
from cache.reader import read_features
from cache.records import FeatureSet
from cache.writer import write_features
from pipeline.inference.load import load_classifier
from stages import train_head

MakeJob = Callable[..., "train_head.Job"]
SCHEDULE = ("augment.variants=[color_1]", "train_head.schedule=[unaugmented x 2, color_1 x 1]")
SMALL = (
    *SCHEDULE,
    "train_head.hidden=[8]",
    "train_head.lr=0.01",
    "train_head.weight_decay=0.01",
    "train_head.batch=16",
)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for number, (split, variant) in enumerate([(s, v) for s in ("train", "val") for v in ("unaugmented", "color_1")]):
        random = np.random.default_rng(number)
        labels = np.arange(60) % 3
        features = (np.eye(3)[labels] * 4 + random.normal(0, 1, (60, 3))).astype(np.float16)
        ids = np.array([b"%064x" % (index + 100 * (split == "val")) for index in range(60)])
        written = FeatureSet(features, labels, ids, ("a", "b", "c"), variant, "mini", {"backbone": "mini"})
        write_features(tmp_path / "data" / "featurize" / f"{split}-{variant}.h5", written)
    return tmp_path / "data"


def test_it_saves_a_classifier_its_curves_and_its_metrics(data: Path, make_job: MakeJob) -> None:
    summary = train_head.run(make_job("train_head", data, *SMALL))
    assert load_classifier(data / "train_head").classes == ("a", "b", "c")
    with (data / "train_head" / "curves.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["variant"] for row in rows] == ["unaugmented", "unaugmented", "color_1"]
    assert set(rows[0]) >= {
        "epoch",
        "lr",
        "train_loss",
        "train_accuracy",
        "val_loss",
        "val_accuracy",
        "val_accuracy_color_1",
    }
    metrics = json.loads((data / "train_head" / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["val_accuracy"] == max(float(row["val_accuracy"]) for row in rows)
    assert f"epoch {metrics['best_epoch']} of 3, 180 rows" in summary


def test_what_is_auto_is_chosen_and_the_tables_say_by_what(data: Path, make_job: MakeJob) -> None:
    summary = train_head.run(make_job("train_head", data, *SCHEDULE, "train_head.batch=16"))
    metrics = json.loads((data / "train_head" / "metrics.json").read_text(encoding="utf-8"))
    assert "a linear head chosen by 5-fold cross-validation" in summary
    assert metrics["best_epoch"] == 0 and metrics["head"] == "linear"
    assert metrics["linear_accuracy"] >= metrics["trained_accuracy"]
    with (data / "train_head" / "candidates.csv").open(encoding="utf-8") as file:
        candidates = list(csv.DictReader(file))
    assert {row["rows"] for row in candidates} == {"unaugmented", "all variants"}
    assert sum(float(row["share"]) > 0 for row in candidates) >= 1
    classifier = load_classifier(data / "train_head")
    val = read_features(data / "featurize" / "val-unaugmented.h5")
    assert classifier.predict(val).correct.mean() == pytest.approx(metrics["val_accuracy"])


def test_two_runs_give_the_same_bytes(data: Path, make_job: MakeJob) -> None:
    train_head.run(make_job("train_head", data, *SMALL))
    before = {path.name: path.read_bytes() for path in (data / "train_head").iterdir()}
    train_head.run(make_job("train_head", data, *SMALL))
    assert {path.name: path.read_bytes() for path in (data / "train_head").iterdir()} == before


def test_without_val_the_last_epoch_is_kept_and_said(data: Path, make_job: MakeJob) -> None:
    for path in (data / "featurize").glob("val-*.h5"):
        path.unlink()
    assert train_head.run(make_job("train_head", data, *SMALL)).startswith("no validation set at epoch 3 of 3")


def test_without_features_it_says_what_to_run(tmp_path: Path, make_job: MakeJob) -> None:
    with pytest.raises(StorageError, match="Run featurize"):
        train_head.run(make_job("train_head", tmp_path / "data", *SMALL))


def test_an_image_that_is_in_train_and_in_val_is_refused(data: Path, make_job: MakeJob) -> None:
    """As after prepare with another seed, where augment was forgotten."""
    leaked = read_features(data / "featurize" / "train-unaugmented.h5")
    path = data / "featurize" / "val-unaugmented.h5"
    write_features(path, replace(leaked, features=leaked.features[:]))
    (data / "featurize" / "val-color_1.h5").unlink()
    with pytest.raises(RecordError, match="some images are in both train and val"):
        train_head.run(make_job("train_head", data, *SMALL))


def test_variants_of_different_images_are_refused(data: Path, make_job: MakeJob) -> None:
    path = data / "featurize" / "train-color_1.h5"
    old = read_features(path)
    write_features(path, replace(old, features=old.features[:], ids=old.ids[::-1]))
    with pytest.raises(RecordError, match="variants hold different images"):
        train_head.run(make_job("train_head", data, *SMALL))
