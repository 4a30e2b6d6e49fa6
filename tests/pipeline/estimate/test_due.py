"""Which stages are up to date, as DVC says, and as its lock file says."""

import json
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from pipeline.estimate.due import reasons_to_run, stages_to_run

ROOT = Path(__file__).resolve().parents[3]


def test_stages_below_a_changed_one_run_too(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = SimpleNamespace(stdout=json.dumps({"featurize": []}))
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: answer)
    assert stages_to_run(ROOT, []) == {"featurize", "train_head", "train_model", "evaluate", "report"}
    assert stages_to_run(ROOT, ["gan"]) >= {"gan", "featurize", "train_model"}
    answer.stdout = "{}"
    assert stages_to_run(ROOT, []) == set()
    answer.stdout = "dvc is not there"
    assert "prepare" in stages_to_run(ROOT, [])


def test_what_dvc_has_locked_says_what_is_due(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text("prepare: {seed: 0}\naugment: {seed: 1}\n")
    prepared = [{"path": "data/prepare", "md5": "a"}]
    lock: dict[str, Any] = {
        "prepare": {"params": {"params.yaml": {"prepare": {"seed": 0}}}, "outs": prepared},
        "augment": {"params": {"params.yaml": {"augment": {"seed": 0}}}, "deps": prepared},
        "gan": {"deps": [{"path": "data/prepare", "md5": "b"}, {"path": "cache", "md5": "c"}]},
        "report": {"params": {"params.yaml": {"prepare.seed": 0}}, "deps": prepared},
    }
    (tmp_path / "dvc.lock").write_text(yaml.safe_dump({"schema": "2.0", "stages": lock}))
    assert reasons_to_run(tmp_path) == {
        "prepare": "",
        "augment": "values of section augment have changed",
        "gan": "data/prepare has changed",
        "report": "",
    }
    (tmp_path / "dvc.lock").write_text("[")
    assert reasons_to_run(tmp_path) == {}
