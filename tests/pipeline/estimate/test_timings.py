"""What other processes spare is counted once they pay."""

from pathlib import Path

import pytest

from pipeline.config.augment import AugmentConfig
from pipeline.config.params import read_params
from pipeline.estimate.timings import pool_seconds, worth_of
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
