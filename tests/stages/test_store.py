"""`python -m stages.store` shows, checks and prunes the store."""

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from cache.parts import PartStore
from stages.store import app

RUNNER = CliRunner()


@pytest.fixture
def part(store: Path) -> Path:
    """One part of two rows, last used three days ago."""
    parts = PartStore(store / "features", {"stage": "featurize", "backbone": "efficientnet-b0"})
    path = parts.write(np.array([b"a" * 64, b"b" * 64]), np.ones((2, 3), np.float32))
    old = time.time() - 3 * 86400
    os.utime(path.parent, (old, old))
    return path


def test_list_shows_recipes_rows_bytes_and_age(store: Path, part: Path) -> None:
    result = RUNNER.invoke(app, ["list"])
    _, line, total = result.output.splitlines()
    assert line.split() == ["1", "2", "0.0", "3.0", "stage", "featurize,", "backbone", "efficientnet-b0"]
    assert total == f"store: 1 recipes, 0.0 MiB in {store}"
    part.write_bytes(b"x")
    assert "no part can be read (1 DAMAGED: run verify)" in RUNNER.invoke(app, ["list"]).output


def test_verify_is_quiet_about_a_sound_store(part: Path) -> None:
    result = RUNNER.invoke(app, ["verify"])
    assert (result.exit_code, result.output) == (0, "store: 1 parts read, 0 damaged\n")


def test_verify_names_damaged_parts_and_exits_with_2(part: Path) -> None:
    part.write_bytes(part.read_bytes()[:-1])
    result = RUNNER.invoke(app, ["verify"])
    assert result.exit_code == 2
    assert result.stderr.startswith(f"error: {part}: wrong length; expected ")
    assert result.stderr.count("\n") == 1
    assert result.stdout == "store: 1 parts read, 1 damaged\n"


def test_prune_by_age_and_size_says_first_and_removes_then(part: Path) -> None:
    assert RUNNER.invoke(app, ["prune"]).output == "store: removed 0 parts, 0.0 MiB, and 0 half-written files\n"
    assert RUNNER.invoke(app, ["prune", "--older-than", "4", "--dry-run"]).output.endswith(
        "would remove 0 parts, 0.0 MiB\n"
    )
    dry = RUNNER.invoke(app, ["prune", "--at-most", "0", "--dry-run"])
    assert dry.output == f"{part}\nstore: would remove 1 parts, 0.0 MiB\n"
    assert part.exists()
    assert RUNNER.invoke(app, ["prune", "--older-than", "2"]).output.startswith("store: removed 1 parts")
    assert not part.exists()


def test_wrong_values_are_refused(part: Path) -> None:
    result = RUNNER.invoke(app, ["prune", "--older-than", "-1"])
    assert result.exit_code == 2
    assert part.exists()


def test_an_error_of_the_disk_is_one_line_and_exit_code_2(store: Path, part: Path) -> None:
    (part.parent / "folder.h5").mkdir()
    command = [sys.executable, "-m", "stages.store", "prune", "--at-most", "0"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert result.stderr.startswith("error: ")
    assert "folder.h5: cannot remove: " in result.stderr
    assert result.stderr.count("\n") == 1
