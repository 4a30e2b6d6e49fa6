"""What a training came to is told of its first seed, and of all seeds if there are several."""

import pytest
from models import recipe
from torch import nn

from pipeline.training.fit import ModelFit
from pipeline.training.tables import model_metrics, model_summary

VAL = {"val_accuracy": 0.75, "val_loss": 0.5}


def fit(kept: dict[str, float]) -> ModelFit:
    """Of a network of 8 parameters."""
    return ModelFit(nn.Linear(3, 2), [], [], 12, {}, [], 3, kept, {}, recipe(lr=0.25))


def test_one_seed_has_no_mean() -> None:
    metrics = model_metrics(fit(VAL), [VAL])
    assert metrics == {"best_epoch": 3, "lr": 0.25, "parameters": 8, "val_accuracy": 0.75, "val_loss": 0.5}
    assert model_summary("plain", fit(VAL), [VAL]) == "plain, 8 parameters: val accuracy 75.0% after epoch 3"


def test_several_seeds_have_a_mean_and_a_deviation() -> None:
    kept = [VAL, {"val_accuracy": 0.85}]
    metrics = model_metrics(fit(VAL), kept)
    assert metrics["val_accuracy"] == 0.75 and metrics["val_accuracy_mean"] == pytest.approx(0.8)
    assert metrics["val_accuracy_std"] == pytest.approx(0.1 / 2**0.5)
    summary = model_summary("plain", fit(VAL), kept)
    assert summary.startswith("plain, 8 parameters: val accuracy 75.0% after epoch 3, 80")
    assert summary.endswith(" over 2 seeds")


def test_without_val_nothing_is_said_of_it() -> None:
    assert "val_accuracy" not in model_metrics(fit({}), [{}, {}])
    assert model_summary("plain", fit({}), [{}]) == "plain, 8 parameters: no validation set after epoch 3"
