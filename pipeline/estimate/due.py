"""Which stages are up to date, by DVC itself or by what it has left on disk."""

import json
import subprocess
import sys
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from cache.errors import ParamsError
from pipeline.config.edit import read_mapping, value_at


def stages_to_run(folder: Path, changed: Collection[str]) -> set[str]:
    """The stages that `dvc repro` would run in a project; changed: those whose values differ from its params.yaml.

    All of them where DVC has not run yet, or is not there to be asked.
    """
    before = upstream(folder)
    command = [sys.executable, "-m", "dvc", "status", "--json"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)  # noqa: S603 - no shell
    try:
        due = set(json.loads(done.stdout)) | set(changed)
    except ValueError:
        return set(before)
    for name, others in before.items():  # what is upstream comes first
        if due & set(others):
            due.add(name)
    return due & set(before)


def upstream(folder: Path) -> dict[str, list[str]]:
    """The stages of a project in the order of the story, and of each those whose outputs it reads."""
    stages: dict[str, Any] = _read(folder / "dvc.yaml")["stages"]
    return {name: [other for other in stages if f"data/{other}" in stage["deps"]] for name, stage in stages.items()}


def reasons_to_run(folder: Path) -> dict[str, str]:
    """Of each stage that DVC has run, why its outputs are not those of the moment; empty if they are.

    DVC is not asked, since it would lock its repository, and a run beside that needs the lock would fail. So its
    dvc.lock is read, which it writes after each stage; changed code, and files changed by hand, are not noticed.
    """
    try:
        locked: dict[str, Any] = _read(folder / "dvc.lock")["stages"]
        values = _read(folder / "params.yaml")
    except (OSError, ParamsError, KeyError):
        return {}
    outputs = {out["path"]: out.get("md5") for stage in locked.values() for out in stage.get("outs", ())}
    return {name: _reason(name, stage, values, outputs) for name, stage in locked.items()}


def _reason(name: str, stage: Mapping[str, Any], values: Mapping[str, Any], outputs: Mapping[str, Any]) -> str:
    for key, value in stage.get("params", {}).get("params.yaml", {}).items():
        if value != value_at(values, key):
            return f"values of section {key.partition('.')[0]} have changed"
    for dep in stage.get("deps", ()):
        if dep["path"] in outputs and dep.get("md5") != outputs[dep["path"]]:
            return f"{dep['path']} has changed"
    return ""


def _read(path: Path) -> dict[str, Any]:
    return read_mapping(path.read_text(encoding="utf-8"))
