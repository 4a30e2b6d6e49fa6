"""What other processes spare is counted once they pay."""

from pathlib import Path

import numpy as np
import pytest

from pipeline.config.augment import AugmentConfig
from pipeline.config.params import read_params
from pipeline.config.recipe import read_recipe
from pipeline.estimate.survey import Survey
from pipeline.estimate.timings import estimate_train_model, pool_seconds, worth_of
from pipeline.runtime.workers import STARTUP_SECONDS

ROOT = Path(__file__).resolve().parents[3]


def test_other_processes_share_what_is_left_once_they_pay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.estimate.timings.worth_of", {4: 2.5}.__getitem__)
    config = read_params(ROOT / "params.yaml", ["augment.workers=4"]).augment
    assert isinstance(config, AugmentConfig)
    assert pool_seconds(1.0, config) == 1.0
    assert pool_seconds(100.0, config) == pytest.approx(2 * STARTUP_SECONDS + (100 - STARTUP_SECONDS) / 2.5)
    assert pool_seconds(100.0, config.model_copy(update={"workers": 1})) == 100.0


def test_processes_side_by_side_do_no_more_than_as_many_and_no_less_than_one() -> None:
    assert worth_of(1) == 1.0
    assert 1.0 <= worth_of(2) < 3.0


def test_a_rate_that_may_be_given_up_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.estimate.timings.timed", lambda work, warm: next(seconds))
    params = read_params(ROOT / "params.yaml", ["featurize.backbone=efficientnet-mini"])
    known = Survey({"train": 100, "val": 0}, 2, 100, np.zeros((4, 32, 32, 3), np.uint8), 0.0, 0.0)
    rows = {}
    for rates in ([0.001], [0.001, 0.0001]):
        seconds = iter([1.0, 5.0])
        rows[len(rates)] = estimate_train_model(read_recipe("finetune", {"lr": rates}), params, known)
    assert rows[2].seconds == pytest.approx(rows[1].seconds * 11 / 8) and rows[2].rows == rows[1].rows
