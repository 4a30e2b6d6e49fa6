"""The evaluate stage reads features and a classifier and leaves figures that DVC and people can read."""

import csv
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from clouds import clouds
from typer.testing import CliRunner

from cache.errors import AugcacheError
from cache.records import FeatureSet
from cache.writer import write_features
from pipeline.config.params import read_params
from pipeline.config.shared.schedule import Phase
from pipeline.evaluation import evaluate as evaluation
from pipeline.inference import load
from pipeline.metrics.predictions import Predictions, from_npz
from stages import _evaluation as steps
from stages import export, featurize, predict, train_head, train_model
from stages._cli import Job
from stages.evaluate import run

CLASSES = ("a", "b, c", "<d>")
PARAMS = Path(__file__).parents[2] / "params.yaml"


@dataclass(frozen=True)
class FirstColumns:
    """A classifier whose features are the scores themselves."""

    classes: tuple[str, ...] = CLASSES
    temperature: float = 2.0

    def predict(self, features: FeatureSet) -> Predictions:
        scores = np.asarray(features.features[:], dtype=np.float32)
        probabilities = scores / scores.sum(axis=1, keepdims=True)
        return Predictions(probabilities, features.labels, features.ids, features.classes, features.variant)


def write_test(folder: Path, variant: str, predicted: list[int]) -> None:
    """Ten test rows with labels 0 0 0 0 1 1 1 2 2 2."""
    scores = np.full((10, 3), 0.25, dtype=np.float32)
    scores[np.arange(10), predicted] = 1.5
    ids = np.array([f"{row:064x}".encode() for row in range(10)], dtype="S64")
    labels = np.array([0, 0, 0, 0, 1, 1, 1, 2, 2, 2])
    write_features(folder / f"test-{variant}.h5", FeatureSet(scores, labels, ids, CLASSES, variant, "by hand"))


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Job:
    monkeypatch.setattr(load, "load_classifier", lambda folder: FirstColumns())
    data = tmp_path / "data"
    return Job(
        "evaluate",
        read_params(PARAMS, ["evaluate.worst=2", "evaluate.attacks=[]", "evaluate.corruptions=[]"]),
        data,
        data / "evaluate",
        quiet=True,
    )


def write_trained(data: Path, stage: str, val_accuracy: float) -> None:
    (data / stage).mkdir(parents=True)
    (data / stage / "classifier.json").write_text("{}", encoding="utf-8")
    (data / stage / "metrics.json").write_text(json.dumps({"val_accuracy": val_accuracy}), encoding="utf-8")


@pytest.fixture
def evaluated(job: Job) -> Job:
    write_test(job.data / "featurize", "unaugmented", [0, 0, 0, 0, 1, 1, 1, 2, 0, 0])
    write_test(job.data / "featurize", "spatial_2", [0, 0, 0, 0, 1, 1, 0, 0, 0, 0])
    write_test(job.data / "featurize", "color_1", [0, 0, 0, 0, 1, 1, 1, 2, 2, 0])
    job.facts["summary"] = run(job)
    return job


def rows(path: Path) -> list[dict[str, Any]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_summary_names_the_accuracy_its_interval_and_the_worst_variant(evaluated: Job) -> None:
    assert evaluated.facts["summary"] == ("top-1 80.0 % [49.0, 94.3] on 10 test images, worst variant spatial_2 60.0 %")
    assert evaluated.facts["rows"] == 30


def test_metrics_hold_every_variant_unaugmented_first(evaluated: Job) -> None:
    metrics = json.loads((evaluated.out / "metrics.json").read_text())
    assert list(metrics["test"]) == ["unaugmented", "color_1", "spatial_2"]
    assert [figures["top1"] for figures in metrics["test"].values()] == [0.8, 0.9, 0.6]
    assert set(metrics["test"]["color_1"]) == {
        *("top1", "top1_low", "top1_high", "top5", "top5_low", "top5_high"),
        *("macro_f1", "macro_f1_low", "macro_f1_high", "ece", "n"),
    }


def test_tables_keep_awkward_class_names(evaluated: Job) -> None:
    per_class = rows(evaluated.out / "per_class.csv")
    assert [row["class"] for row in per_class] == [*CLASSES] * 3
    assert per_class[2] == {
        "variant": "unaugmented",
        "class": "<d>",
        "support": "3",
        "precision": "1.0",
        "recall": "0.333333",
        "f1": "0.5",
        "taken_for": "a",
        "share": "0.666667",
        "train": "",
    }
    confusion = rows(evaluated.out / "confusion.csv")
    assert len(confusion) == 10
    assert confusion[9] == {"actual": "<d>", "predicted": "a"}
    assert rows(evaluated.out / "confused.csv") == [
        {"actual": "<d>", "predicted": "a", "count": "2", "share": "0.666667"}
    ]
    assert [row["row"] for row in rows(evaluated.out / "mistakes.csv")] == ["8", "9"]


def test_predictions_are_kept_per_variant_and_those_of_a_removed_variant_go(evaluated: Job) -> None:
    kept = from_npz((evaluated.out / "predictions-spatial_2.npz").read_bytes())
    assert (kept.variant, len(kept), kept.probabilities[0].tolist()) == ("spatial_2", 10, [0.75, 0.125, 0.125])
    (evaluated.data / "featurize" / "test-spatial_2.h5").unlink()
    run(evaluated)
    assert sorted(path.name for path in evaluated.out.glob("*.npz")) == [
        "predictions-color_1.npz",
        "predictions-unaugmented.npz",
    ]


def test_the_same_input_gives_the_same_bytes(evaluated: Job) -> None:
    before = {path.name: path.read_bytes() for path in evaluated.out.iterdir()}
    run(evaluated)
    assert {path.name: path.read_bytes() for path in evaluated.out.iterdir()} == before


def test_calibration_is_measured_with_and_without_the_temperature(evaluated: Job) -> None:
    calibration = json.loads((evaluated.out / "metrics.json").read_text())["calibration"]
    # probability 0.75 is 0.9 squared and normalised again: 0.9474 without the temperature of 2; accuracy is 0.8
    assert calibration == {
        "temperature": 2.0,
        "ece": 0.05,
        "ece_by_chance": pytest.approx((2 / np.pi * 10 * 0.75 * 0.25) ** 0.5 / 10, abs=1e-5),
        "ece_without": pytest.approx(0.947368 - 0.8, abs=1e-5),
    }
    (only,) = rows(evaluated.out / "calibration.csv")
    assert (only["count"], only["confidence"], only["accuracy"]) == ("10", "0.75", "0.8")


def test_a_leak_from_train_is_listed_and_accuracy_told_without_it(job: Job) -> None:
    write_test(job.data / "featurize", "unaugmented", [0, 0, 0, 0, 1, 1, 1, 2, 0, 0])
    random = np.random.default_rng(0)
    known = np.float32(1 + random.random((40, 3)))
    known[11] = (1.5, 0.25, 0.25)  # looks like test rows 0 to 3, 8 and 9
    ids = np.array([f"{100 + row:064x}".encode() for row in range(40)], dtype="S64")
    train = FeatureSet(known, np.arange(40) % 3, ids, CLASSES, "unaugmented", "by hand")
    write_features(job.data / "featurize" / "train-unaugmented.h5", train)
    run(job)
    leaks = rows(job.out / "near_duplicates.csv")
    same = [leak for leak in leaks if leak["train_row"] == "11" and float(leak["cosine"]) > 0.999]
    assert sorted(int(leak["row"]) for leak in same) == [0, 1, 2, 3, 8, 9]
    assert {(leak["split"], leak["train_class"]) for leak in same} == {("test", "<d>")}
    without = json.loads((job.out / "metrics.json").read_text())["without_near_duplicates"]
    assert set(without) <= {"test"} and all(figures["n"] == 10 - len(leaks) for figures in without.values())


def test_without_a_test_split_it_says_so_and_the_metrics_are_empty(job: Job) -> None:
    write_test(job.data / "featurize", "unaugmented", [0] * 10)
    (job.data / "featurize" / "test-unaugmented.h5").rename(job.data / "featurize" / "train-unaugmented.h5")
    assert run(job) == "no test split (prepare.test is none), so there is nothing to evaluate"
    assert json.loads((job.out / "metrics.json").read_text()) == {
        **{"test": {}, "attacked": {}, "corrupted": {}, "without_near_duplicates": {}},
        "calibration": {"temperature": 2.0},
        "classifiers": {"train_head": {"used": 1}},
    }
    assert (
        job.out / "per_class.csv"
    ).read_text() == "variant,class,support,precision,recall,f1,taken_for,share,train\n"
    assert (job.out / "confusion.csv").read_text() == "actual,predicted\n"


def test_missing_features_are_not_taken_for_a_missing_test_split(job: Job) -> None:
    with pytest.raises(AugcacheError, match="Run featurize"):
        run(job)


def test_augmented_test_features_without_the_unaugmented_are_refused(job: Job) -> None:
    write_test(job.data / "featurize", "spatial_1", [0] * 10)
    with pytest.raises(AugcacheError, match=r"test-unaugmented\.h5: no such file\. Run the stage that makes it"):
        run(job)


@pytest.fixture
def both(job: Job, monkeypatch: pytest.MonkeyPatch) -> Job:
    """A head that is right on 8 of 10, and a model that takes every image for the first class; the head wins on val."""
    chosen = {"train_head": FirstColumns(), "train_model": AlwaysFirst()}
    monkeypatch.setattr(load, "load_classifier", lambda folder: chosen[folder.name])
    write_trained(job.data, "train_head", 0.9)
    write_trained(job.data, "train_model", 0.8)
    write_test(job.data / "featurize", "unaugmented", [0, 0, 0, 0, 1, 1, 1, 2, 0, 0])
    write_test(job.data / "featurize", "color_1", [0, 0, 0, 0, 1, 1, 1, 2, 2, 2])
    return job


@dataclass(frozen=True)
class AlwaysFirst(FirstColumns):
    """A classifier that takes every image for the first class."""

    def predict(self, features: FeatureSet) -> Predictions:
        probabilities = np.tile(np.array([0.5, 0.25, 0.25], dtype=np.float32), (len(features), 1))
        return Predictions(probabilities, features.labels, features.ids, features.classes, features.variant)


def test_both_classifiers_are_evaluated_on_the_same_images(both: Job) -> None:
    assert run(both) == (
        "train_head, top-1 80.0 % [49.0, 94.3] on 10 test images, worst variant color_1 100.0 %; "
        "train_model, top-1 40.0 % [16.8, 68.7]"
    )
    table = rows(both.out / "classifiers.csv")
    assert [(row["group"], row["name"], row["n"]) for row in table] == [
        ("test", "unaugmented", "10"),
        ("test", "color_1", "10"),
    ]
    assert [(row["head"], row["model"], row["change"]) for row in table] == [
        ("0.8", "0.4", "-0.4"),
        ("1.0", "0.4", "-0.6"),
    ]
    assert all(float(row["change_low"]) < float(row["change"]) < float(row["change_high"]) < 0 for row in table)
    used = json.loads((both.out / "metrics.json").read_text())
    other = json.loads((both.out / "other" / "metrics.json").read_text())
    assert used["test"]["unaugmented"]["top1"] == 0.8 and other["test"]["unaugmented"]["top1"] == 0.4
    summaries = used["classifiers"]
    assert {stage: (row["used"], row["val_accuracy"], row["top1"]) for stage, row in summaries.items()} == {
        "train_head": (1, 0.9, 0.8),
        "train_model": (0, 0.8, 0.4),
    }
    assert len(from_npz((both.out / "other" / "predictions-color_1.npz").read_bytes())) == 10


def test_the_classifier_that_is_named_is_the_one_that_metrics_describe(both: Job) -> None:
    both.params = read_params(
        PARAMS, ["evaluate.classifier=train_model", "evaluate.attacks=[]", "evaluate.corruptions=[]"]
    )
    assert run(both).startswith("train_model, top-1 40.0 %")
    assert json.loads((both.out / "metrics.json").read_text())["test"]["unaugmented"]["top1"] == 0.4
    assert rows(both.out / "classifiers.csv")[0]["change"] == "-0.4"  # always the model's minus the head's


def test_without_the_other_classifier_its_files_are_gone(both: Job) -> None:
    run(both)
    (both.data / "train_model" / "metrics.json").write_text("{}", encoding="utf-8")  # train_model.recipe is none
    run(both)
    assert list((both.out / "other").iterdir()) == []
    assert (both.out / "classifiers.csv").read_text() == "group,name,n,head,model,change,change_low,change_high\n"


def test_tables_name_the_file_of_each_image(both: Job) -> None:
    files = "id,split,row,class,path\n" + "".join(f"{row:064x},test,{row},a,photos/{row}.jpg\n" for row in range(9))
    files += f'{0:064x},test,9,a,of_another_image.jpg\n{5:064x},train,0,a,"other, 5.jpg"\n'
    (both.data / "prepare").mkdir()
    (both.data / "prepare" / "files.csv").write_text(files, encoding="utf-8")
    run(both)
    predictions = rows(both.out / "predictions.csv")
    assert [row["path"] for row in predictions] == [*(f"photos/{row}.jpg" for row in range(9)), ""]
    assert predictions[8] | {"id": ""} == {
        **{"row": "8", "id": "", "path": "photos/8.jpg", "actual": "<d>", "predicted": "a", "probability": "0.75"}
    }
    assert [(row["row"], row["path"]) for row in rows(both.out / "mistakes.csv")] == [("8", "photos/8.jpg"), ("9", "")]


def test_near_duplicates_name_both_files(job: Job) -> None:
    write_test(job.data / "featurize", "unaugmented", [0, 0, 0, 0, 1, 1, 1, 2, 0, 0])
    content = (job.data / "featurize" / "test-unaugmented.h5").read_bytes()
    (job.data / "featurize" / "train-unaugmented.h5").write_bytes(content)
    lines = [f"{row:064x},{split},{row},a,{split}/{row}.jpg" for split in ("train", "test") for row in range(10)]
    (job.data / "prepare").mkdir()
    (job.data / "prepare" / "files.csv").write_text("\n".join(["id,split,row,class,path", *lines]), encoding="utf-8")
    run(job)
    leaks = rows(job.out / "near_duplicates.csv")
    assert len(leaks) == 10
    assert all(leak["path"] == f"test/{leak['row']}.jpg" for leak in leaks)
    assert all(leak["train_path"] == f"train/{leak['train_row']}.jpg" for leak in leaks)


def test_a_head_and_a_full_model_are_attacked_on_the_same_images(
    project: list[str], tmp_path: Path, make_job: Callable[..., Job]
) -> None:
    """The real ones: the head reads features, the model images."""
    data = tmp_path / "data"
    values = [value for flag, value in pairwise(project) if flag == "--set"]
    values += ["evaluate.attacks=[{eps: 4, steps: 1, restarts: 1}]", "evaluate.corruptions=[contrast]"]
    tiny = "{network: {name: resnetv2, widths: [8, 16], blocks: 1}, batch: 8, schedule: [unaugmented x 1]}"
    values += ["evaluate.severities=[3]", "train_model.recipe=plain", f"train_model.override={tiny}"]
    (data / "train_model").mkdir()
    train_model.run(make_job("train_model", data, *values))
    summary = run(make_job("evaluate", data, *values))
    assert summary.startswith("train_model, top-1 ") and "; train_head, top-1 " in summary  # no val split
    table = rows(data / "evaluate" / "classifiers.csv")
    names = ["unaugmented", "clean", "fgsm_eps_4", "clean", "contrast_3"]
    assert [(row["name"], row["n"]) for row in table] == [(name, "6") for name in names]
    other = json.loads((data / "evaluate" / "other" / "metrics.json").read_text())
    assert [float(table[2]["head"])] == [other["attacked"]["fgsm_eps_4"]["top1"]]


def test_a_head_over_all_layers_is_attacked_exported_and_fine_tuned(
    project: list[str], photos: Path, tmp_path: Path, make_job: Callable[..., Job]
) -> None:
    data = tmp_path / "data"
    values = [value for flag, value in pairwise(project) if flag == "--set"]
    values += ["featurize.layers=all", "evaluate.attacks=[{eps: 4, steps: 1, restarts: 1}]"]
    values += ["evaluate.corruptions=[contrast]", "evaluate.severities=[3]", "train_head.hidden=auto"]
    values += ["train_model.override={schedule: [unaugmented x 1]}"]
    (data / "train_model").mkdir()
    for stage in (featurize, train_head, train_model):
        stage.run(make_job(stage.__name__.rpartition(".")[2], data, *values))
    assert "worst attack fgsm_eps_4" in run(make_job("evaluate", data, *values))
    both = rows(data / "evaluate" / "classifiers.csv")
    assert {row["name"] for row in both} >= {"unaugmented", "fgsm_eps_4", "contrast_3"}
    sets = [word for value in (*values, "evaluate.classifier=train_head") for word in ("--set", value)]
    tables = []
    exported = CliRunner().invoke(export.app, ["--out", str(tmp_path / "bundle"), "--data", str(data), *sets])
    assert exported.exit_code == 0, exported.output
    for more in (["--data", str(data), *sets], ["--bundle", str(tmp_path / "bundle")]):
        done = CliRunner().invoke(predict.app, ["--images", str(photos), "--out", str(tmp_path / "out.csv"), *more])
        assert done.exit_code == 0, done.output
        tables.append((tmp_path / "out.csv").read_bytes())
    assert tables[0] == tables[1]


def test_views_are_evaluated_beside_the_images_and_used_by_predict(
    project: list[str], photos: Path, tmp_path: Path
) -> None:
    quick = ["--set", "evaluate.attacks=[]", "--set", "evaluate.corruptions=[]"]
    flags = [*project, *quick, "--set", "evaluate.views=[flip]"]
    command = [sys.executable, "-m", "stages.evaluate", *flags]
    done = subprocess.run(command, cwd=PARAMS.parent, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    metrics = json.loads((tmp_path / "data" / "evaluate" / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["views"] == {"train_head": "flip"}
    assert list(metrics["test"]) == ["unaugmented", "views"]
    viewed = from_npz((tmp_path / "data" / "evaluate" / "predictions-views.npz").read_bytes())
    plain = from_npz((tmp_path / "data" / "evaluate" / "predictions-unaugmented.npz").read_bytes())
    assert np.array_equal(viewed.ids, plain.ids) and not np.array_equal(viewed.probabilities, plain.probabilities)
    tables = []
    for more in ([], ["--set", "evaluate.views=[flip]"], ["--views", "flip"]):
        arguments = ["--images", str(photos), "--out", str(tmp_path / "out.csv"), *project, *more]
        assert CliRunner().invoke(predict.app, arguments).exit_code == 0
        tables.append((tmp_path / "out.csv").read_bytes())
    assert tables[0] != tables[1] == tables[2]


def test_what_is_measured_of_very_large_sets_in_part_is_said(
    job: Job, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sets = {"unaugmented": clouds(60), "mild_1": clouds(60, "mild_1", 2)}
    features = {"train": sets, "val": {"unaugmented": clouds(30, seed=1)}, "test": {"unaugmented": clouds(20, seed=3)}}
    write_trained(job.data, "train_head", 0.5)
    head = job.params.train_head.model_copy(update={"schedule": [Phase("unaugmented", 1), Phase("mild_1", 1)]})
    everything = steps.gains_of(job, ["train_head"], features, head)
    steps.leaks_of(job, features)
    assert capsys.readouterr().out == ""
    monkeypatch.setattr(steps, "GAIN_IMAGES", 30)
    monkeypatch.setattr(evaluation, "COMPARED_IMAGES", 25)
    assert [gain.variant for gain in steps.gains_of(job, ["train_head"], features, head)] == ["mild_1"]
    steps.leaks_of(job, features)
    assert [gain.variant for gain in everything] == ["mild_1"]
    assert capsys.readouterr().out.splitlines() == [
        "evaluate: what variants gain was measured with 30 of the 60 training images",
        "evaluate: near duplicates were looked for among 25 of the 30 images of val",
    ]
