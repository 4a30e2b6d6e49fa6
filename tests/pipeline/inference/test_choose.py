"""The classifier that val prefers is used, unless one is named."""

from pathlib import Path

import pytest

from cache.errors import DamagedFile
from pipeline.inference.choose import choose_classifier, trained_classifiers


def write_classifier(data: Path, stage: str, metrics: str | None) -> None:
    (data / stage).mkdir(parents=True)
    (data / stage / "classifier.json").write_text("{}", encoding="utf-8")
    if metrics is not None:
        (data / stage / "metrics.json").write_text(metrics, encoding="utf-8")


@pytest.mark.parametrize(
    ("head", "model", "chosen"),
    [
        ('{"val_accuracy": 0.9, "val_loss": 0.3}', '{"val_accuracy": 0.8, "val_loss": 0.1}', "train_head"),
        ('{"val_accuracy": 0.8, "val_loss": 0.1}', '{"val_accuracy": 0.9, "val_loss": 0.3}', "train_model"),
        ('{"val_accuracy": 0.9, "val_loss": 0.2}', '{"val_accuracy": 0.9, "val_loss": 0.3}', "train_head"),
        ('{"val_accuracy": 0.9, "val_loss": 0.3}', '{"val_accuracy": 0.9, "val_loss": 0.2}', "train_model"),
        ('{"best_epoch": 3}', '{"best_epoch": 4}', "train_model"),  # no val split
        ('{"val_accuracy": 0.5, "val_loss": 2}', '{"val_accuracy": 0.9, "val_loss": NaN}', "train_head"),
        ('{"val_accuracy": 0.9}', "{}", "train_head"),  # train_model.recipe is none; the weights are an earlier run's
        (None, "{}", "train_head"),
    ],
)
def test_the_better_classifier_on_val_is_used(tmp_path: Path, head: str | None, model: str, chosen: str) -> None:
    write_classifier(tmp_path, "train_head", head)
    write_classifier(tmp_path, "train_model", model)
    assert choose_classifier(tmp_path, "best") == chosen


def test_a_named_classifier_is_used_whatever_val_says(tmp_path: Path) -> None:
    write_classifier(tmp_path, "train_head", '{"val_accuracy": 0.9}')
    write_classifier(tmp_path, "train_model", '{"val_accuracy": 0.8}')
    assert choose_classifier(tmp_path, "train_model") == "train_model"


def test_the_only_classifier_is_used(tmp_path: Path) -> None:
    assert choose_classifier(tmp_path, "best") == "train_head"  # whose loader says what to run
    write_classifier(tmp_path, "train_model", '{"val_accuracy": 0.1}')
    assert choose_classifier(tmp_path, "best") == "train_model"
    assert trained_classifiers(tmp_path) == {"train_model": {"val_accuracy": 0.1}}


def test_damaged_metrics_are_refused_by_name(tmp_path: Path) -> None:
    write_classifier(tmp_path, "train_head", "{")
    with pytest.raises(DamagedFile, match=r"train_head/metrics\.json: not JSON\. Run train_head again"):
        choose_classifier(tmp_path, "best")
