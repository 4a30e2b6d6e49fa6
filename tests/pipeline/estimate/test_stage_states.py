"""How far each stage is, and the time that it still takes, from the files that stages leave."""

import json
import os
import time
from pathlib import Path

import pytest

from pipeline.config.params import read_params
from pipeline.estimate.stage_states import Place, expected_seconds, stages_now
from pipeline.report.watch_page import WatchedStage
from pipeline.runtime.progress_file import progress_path

ROOT = Path(__file__).resolve().parents[3]


def look(data: Path) -> dict[str, WatchedStage]:
    """Each stage by name, without DVC, such as on a GPU machine."""
    watched = stages_now(Place(ROOT, data, read_params(ROOT / "params.yaml"), uses_dvc=False))
    return {stage.name: stage for stage in watched.stages}


def test_time_left_is_by_rate_by_the_last_run_and_by_the_newer_estimate(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    records = {"prepare": {"seconds": 7.0}, "estimate": {"prepare": 90.0, "featurize": 100.0}}
    for number, (name, content) in enumerate(records.items()):
        path = tmp_path / "runs" / f"{name}.json"
        path.write_text(json.dumps(content))
        os.utime(path, (number, number))
    shown = look(tmp_path)
    assert shown["prepare"].left == 0  # it has a record
    assert shown["featurize"].left == 100
    assert shown["train_head"].left is None
    assert expected_seconds(tmp_path, "prepare") == 90  # the estimate is newer
    os.utime(tmp_path / "runs" / "prepare.json", (2, 2))
    assert expected_seconds(tmp_path, "prepare") == 7
    now = time.time()
    fields = {
        "stage": "featurize",
        "state": "running",
        "text": "",
        "host": "elsewhere",
        "process": 1,
        "process_started": 1,
        "started": now - 10,
        "written": now,
        "curves": [],
        "step": {"label": "", "unit": "img", "total": 100, "done": 20, "started": now - 10},
    }
    path = progress_path(tmp_path, "featurize")
    path.parent.mkdir()
    path.write_text(json.dumps(fields))
    running = look(tmp_path)["featurize"]
    assert running.left == pytest.approx(90, abs=5)  # 100 s as estimated, 10 of them gone; 40 s by rate
    (tmp_path / "runs" / "estimate.json").unlink()
    running = look(tmp_path)["featurize"]
    assert running.left == pytest.approx(40, abs=5)


def test_a_newer_upstream_stage_makes_those_after_it_wait(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    for number, name in enumerate(("augment", "gan", "featurize", "prepare")):
        path = tmp_path / "runs" / f"{name}.json"
        path.write_text('{"summary": "made", "seconds": 1.0}')
        os.utime(path, (number, number))
    stages = {name: (stage.state, stage.text) for name, stage in look(tmp_path).items()}
    assert stages["prepare"] == ("up to date", "made")
    assert stages["augment"] == ("waits", "prepare has run since")
    assert stages["featurize"] == ("waits", "for augment")
