"""train_model: off by default; else from cached images to a classifier that evaluate, predict and export use."""

import csv
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from models import coloured

from cache.errors import ParamsError
from cache.records import ImageSet
from cache.writer import write_images
from pipeline.inference.bundle import load_bundle, open_bundle
from pipeline.inference.classifier import ModelClassifier
from pipeline.inference.load import load_classifier
from pipeline.inference.restore import Project
from stages import evaluate, report, train_model

MakeJob = Callable[..., "train_model.Job"]
ROOT = Path(__file__).resolve().parents[2]
TINY = (
    "train_model.recipe=plain",
    "train_model.override={network: {name: resnetv2, widths: [16, 32], blocks: 1}, batch: 16, "
    "schedule: [unaugmented x 2, spatial_1 x 1]}",
    "prepare.size=12",
    "augment.variants=[spatial_1]",
    "train_head.schedule=[unaugmented x 1]",
    "evaluate.attacks=[{eps: 4, steps: 1, restarts: 1}]",
    "evaluate.corruptions=[contrast]",
    "evaluate.severities=[3]",
)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for number, split in enumerate(("train", "val", "test")):
        images = coloured(48, number)
        write_images(tmp_path / "data" / "prepare" / f"{split}.h5", images)
        turned = ImageSet(images.images[:, ::-1].copy(), images.labels, images.ids, images.classes, "spatial_1")
        write_images(tmp_path / "data" / "augment" / f"{split}-spatial_1.h5", turned)
    return tmp_path / "data"


def test_off_it_writes_an_empty_index_and_imports_no_torch(data: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from stages import train_model; from stages._cli import Job;"
        "from pipeline.config.params import read_params;"
        f"job = Job('train_model', read_params(Path('params.yaml'), ['train_model.recipe=none']), Path({str(data)!r}), "
        f"Path({str(data / 'train_model')!r}), True); print(train_model.run(job), 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout == "off (train_model.recipe is none) False\n"
    assert json.loads((data / "train_model" / "metrics.json").read_text(encoding="utf-8")) == {}
    assert (data / "train_model" / "curves.csv").read_text(encoding="utf-8").startswith("epoch,variant,lr")


def test_it_saves_a_classifier_its_curves_and_metrics_over_seeds(data: Path, make_job: MakeJob) -> None:
    summary = train_model.run(make_job("train_model", data, *TINY, "train_model.seeds=2"))
    metrics = json.loads((data / "train_model" / "metrics.json").read_text(encoding="utf-8"))
    assert set(metrics) == {
        "best_epoch", "lr", "parameters", "val_accuracy", "val_loss", "val_accuracy_mean", "val_accuracy_std"
    }  # fmt: skip
    assert f"plain, {metrics['parameters']:,} parameters: val accuracy" in summary and "over 2 seeds" in summary
    with (data / "train_model" / "curves.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["variant"] for row in rows] == ["unaugmented", "unaugmented", "spatial_1"]
    assert "val_accuracy_spatial_1" in rows[0]
    assert isinstance(load_classifier(data / "train_model"), ModelClassifier)


def test_the_model_is_judged_reported_and_packed_like_a_head(data: Path, make_job: MakeJob, tmp_path: Path) -> None:
    train_model.run(make_job("train_model", data, *TINY))
    judged = evaluate.run(make_job("evaluate", data, *TINY))
    assert "on 48 test images" in judged and "worst attack fgsm_eps_4" in judged
    metrics = json.loads((data / "evaluate" / "metrics.json").read_text(encoding="utf-8"))
    assert list(metrics["test"]) == ["unaugmented", "spatial_1"] and metrics["corrupted"]["contrast_3"]["n"] == 48
    report.run(make_job("report", data, *TINY))
    page = (data / "report" / "index.html").read_text(encoding="utf-8")
    assert "plain: resnetv2 of" in page and "weights are random" not in page
    bundle_folder = tmp_path / "bundle"
    flags = ["--data", str(data), *(part for override in TINY for part in ("--set", override))]
    run = [sys.executable, "-m", "stages.export", "--out", str(bundle_folder), *flags]
    done = subprocess.run(run, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    job = make_job("evaluate", data, *TINY)
    images = coloured(9, 7).images[:]
    expected = open_bundle(data / "train_model", Project(data, job.params.featurize, {})).predict(images)  # type: ignore[arg-type]
    np.testing.assert_array_equal(load_bundle(bundle_folder).predict(images), expected)


def test_it_says_how_many_rates_were_tried(data: Path, make_job: MakeJob) -> None:
    """Val has too few images to tell the highest, so the second comes first, and nothing overshoots it."""
    own = TINY[1].replace("{network", "{lr: [0.02, 0.01, 0.005], network")
    summary = train_model.run(make_job("train_model", data, *TINY, own))
    assert ", lr 0.01 (1 of 3 rates tried): val accuracy" in summary


def test_tensorboard_gets_every_epoch(data: Path, make_job: MakeJob, tmp_path: Path) -> None:
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    train_model.run(make_job("train_model", data, *TINY, f"train_model.tensorboard={tmp_path / 'board'}"))
    board = events.EventAccumulator(str(tmp_path / "board")).Reload()
    assert [event.step for event in board.Scalars("val_accuracy")] == [1, 2, 3]


@pytest.mark.parametrize(
    ("override", "reason"),
    [
        ("train_model.recipe=003", r"recipe.*input should be a valid string; found 3"),
        ("train_model.recipe=003-cbm", r"unknown name.*Did you mean '003-cbam'"),
        ("train_model.override={schedule: [color_9 x 1]}", r"schedule of the recipe plain.*found 'color_9'"),
    ],
)
def test_a_wrong_recipe_is_refused_before_any_stage(override: str, reason: str, data: Path, make_job: MakeJob) -> None:
    with pytest.raises(ParamsError, match=reason):
        make_job("prepare", data, *TINY, override)
