"""The progress file of a stage: whole at any moment, rarely written, true after a kill, and never in the way."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.runtime import progress_file
from pipeline.runtime.progress_file import ProgressFile, progress_path, read_progress

ROOT = Path(__file__).resolve().parents[3]


def state_of(path: Path) -> str:
    progress = read_progress(path)
    assert progress is not None
    return progress.state


def test_it_is_written_once_a_second_however_fast_work_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    written: list[float] = []
    replace = progress_file.os.replace
    monkeypatch.setattr(progress_file.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(progress_file.os, "replace", lambda *paths: (written.append(clock[0]), replace(*paths)))
    with ProgressFile(progress_path(tmp_path, "report"), "report") as file:
        file.begin("", "row", 10_000)
        before = len(written)
        for _ in range(10_000):
            clock[0] += 0.01  # hundred times a second for a hundred seconds
            file.advance(1)
    # each write sets the next one a second later; sums of 0.01 may round to one step more
    assert 98 <= len(written) - before - 1 <= 100


def test_a_resumed_training_goes_on_with_the_curves_of_the_killed_one(tmp_path: Path) -> None:
    path = progress_path(tmp_path, "train_model")
    killed = ProgressFile(path, "train_model")
    for epoch in (1, 2, 3):
        killed.log({"epoch": epoch, "val_accuracy": epoch / 10})
    killed._write()
    with ProgressFile(path, "train_model") as resumed:
        resumed.log({"epoch": 3, "val_accuracy": 0.9})
    progress = read_progress(path)
    assert progress is not None
    assert [row["val_accuracy"] for row in progress.curves] == [0.1, 0.2, 0.9]
    with ProgressFile(path, "train_model") as anew:
        anew.log({"epoch": 2, "val_accuracy": 0.5})
    progress = read_progress(path)
    assert progress is not None and [row["epoch"] for row in progress.curves] == [2]  # that one was done


def test_a_process_that_is_gone_was_killed_and_one_elsewhere_is_believed(tmp_path: Path) -> None:
    path = progress_path(tmp_path, "report")
    code = (
        "import os, sys\nfrom pathlib import Path\nfrom pipeline.runtime.progress_file import ProgressFile\n"
        "file = ProgressFile(Path(sys.argv[1]), 'report')\nfile.begin('', 'row', 4)\nos._exit(9)"
    )
    subprocess.run([sys.executable, "-c", code, str(path)], cwd=ROOT, check=False)
    assert state_of(path) == "killed"
    fields = json.loads(path.read_text())
    path.write_text(json.dumps(fields | {"host": "another machine"}))
    assert state_of(path) == "running"
    path.write_text(json.dumps(fields | {"process": 1, "process_started": 0}))  # its number was given again
    assert state_of(path) == "killed"


@pytest.mark.parametrize("content", ["", "{", "[]", '{"state": "running"}', '{"stage": 1}'])
def test_a_foreign_file_is_no_progress(tmp_path: Path, content: str) -> None:
    (tmp_path / "report.json").write_text(content)
    assert read_progress(tmp_path / "report.json") is None
    assert read_progress(tmp_path / "none.json") is None
