"""pretrain: from prepared images to a backbone that featurize takes."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from cache.errors import StorageError
from cache.reader import read_features
from stages import featurize, prepare, pretrain

MakeJob = Callable[..., "pretrain.Job"]
SMALL = (
    "pretrain.backbone=efficientnet:0.25x0.2/2",
    "pretrain.sizes=[16]",
    "pretrain.epochs=2",
    "pretrain.batch=8",
    "pretrain.device=cpu",
)


def test_a_backbone_of_ones_own_featurizes(tmp_path: Path, photos: Path, make_job: MakeJob) -> None:
    data = tmp_path / "data"
    sources = (f"prepare.source={photos}", "prepare.size=16")
    prepare.run(make_job("prepare", data, *sources))
    summary = pretrain.run(make_job("pretrain", data, *SMALL))
    assert "2 epochs: val accuracy" in summary
    out = data / "pretrain"
    assert {path.name for path in out.iterdir()} == {
        "backbone.safetensors",
        "network.safetensors",
        "curves.csv",
        "metrics.json",
    }
    with (out / "curves.csv").open(encoding="utf-8") as file:
        assert [row["epoch"] for row in csv.DictReader(file)] == ["1", "2"]
    assert json.loads((out / "metrics.json").read_text())["epoch"] == 2
    own = (
        "featurize.backbone=efficientnet:0.25x0.2/2",
        f"featurize.weights={out / 'backbone.safetensors'}",
        "featurize.preprocessing=advprop",
        "featurize.size=16",
        "augment.variants=[]",
        "train_head.schedule=[unaugmented x 1]",
    )
    featurize.run(make_job("featurize", data, *own))
    features = read_features(data / "featurize" / "train-unaugmented.h5")
    assert features.recipe["mean"] == [0.5, 0.5, 0.5] and features.features[:].std() > 0


def test_nothing_prepared_is_one_line(tmp_path: Path, make_job: MakeJob) -> None:
    with pytest.raises(StorageError, match="Run prepare"):
        pretrain.run(make_job("pretrain", tmp_path / "data", *SMALL))
