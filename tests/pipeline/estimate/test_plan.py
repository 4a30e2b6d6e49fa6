"""Stages that DVC would skip are not tried; what all take is told in words."""

from pathlib import Path
from typing import Any

import pytest

from pipeline.config.params import read_params
from pipeline.estimate.plan import PreviousRun, estimate_all, span
from pipeline.estimate.timings import Estimate

ROOT = Path(__file__).resolve().parents[3]
SMALL = ["prepare.size=32", "augment.size=32", "augment.variants=[color_1]", "featurize.size=32", "featurize.batch=16"]
SMALL += ["train_head.schedule=[unaugmented x 1, color_1 x 1]", "train_head.hidden=[]"]


def test_a_stage_that_would_be_skipped_is_not_tried(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: Any) -> None:
        raise AssertionError("augment was tried")

    monkeypatch.setattr("pipeline.estimate.plan.estimate_augment", never)
    params = read_params(ROOT / "params.yaml", [f"prepare.source={photos}", *SMALL])
    estimates = {line.stage: line for line in estimate_all(params, PreviousRun({}, {}), {"prepare", "train_head"})}
    assert estimates["augment"] == Estimate("augment", 30, 30, 0.0, 0.0)
    assert estimates["prepare"].seconds > 0 and estimates["train_head"].seconds > 0


def test_spans_are_read_by_people() -> None:
    assert [span(seconds) for seconds in (4.4, 150.0, 7200.0)] == ["4 s", "2 min", "2.0 h"]
