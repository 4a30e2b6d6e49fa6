"""Which stages `dvc repro` would run."""

import json
import subprocess
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Any

import yaml


def stages_to_run(folder: Path, changed: Collection[str]) -> set[str]:
    """The stages that `dvc repro` would run in a project; changed: those whose values differ from its params.yaml.

    All of them where DVC has not run yet, or is not there to be asked.
    """
    described: dict[str, Any] = yaml.safe_load((folder / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    command = [sys.executable, "-m", "dvc", "status", "--json"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)  # noqa: S603 - no shell
    try:
        due = set(json.loads(done.stdout)) | set(changed)
    except ValueError:
        return set(described)
    for name, stage in described.items():  # in the order of the story: what is upstream comes first
        if any(f"data/{other}" in stage["deps"] for other in due):
            due.add(name)
    return due & set(described)
