"""The progress file of a stage: whole at any moment, rarely written, true after a kill, and never in the way."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from cache.errors import InputError
from stages import _progress
from stages._job import Job, run_locked
from stages._progress import ProgressFile, progress_path, read_progress

ROOT = Path(__file__).resolve().parents[2]


def state_of(job: Job) -> str:
    progress = read_progress(progress_path(job.data, job.stage))
    assert progress is not None
    return progress.state


@pytest.fixture
def job(make_job: Callable[..., Job], tmp_path: Path) -> Job:
    return make_job("report", tmp_path / "data")


def test_a_stage_tells_its_steps_and_curves_while_it_runs_and_its_end(job: Job) -> None:
    def run(own: Job) -> str:
        with own.progress(8, "image", "decode") as advance:
            advance(2)
            own.log({"epoch": 1, "val_accuracy": 0.5})
        with own.watch(3, "row") as watch:
            progress = read_progress(progress_path(own.data, own.stage))
            assert progress is not None and progress.step is not None
            assert (progress.state, progress.step.unit, progress.step.total) == ("running", "row", 3)
            assert progress.curves == [{"epoch": 1, "val_accuracy": 0.5}]
            watch.advance(3)
            watch.log({"epoch": 2, "val_accuracy": 0.75})
        return "done"

    run_locked(job, run)
    progress = read_progress(progress_path(job.data, job.stage))
    assert progress is not None and progress.step is not None
    assert (progress.state, progress.step.done, len(progress.curves)) == ("done", 3, 2)


@pytest.mark.parametrize(
    ("error", "state", "text"),
    [
        (InputError("no such file", where="photos"), "failed", "photos: no such file"),
        (KeyboardInterrupt(), "interrupted", ""),
    ],
)
def test_how_a_stage_ended_is_told(job: Job, error: BaseException, state: str, text: str) -> None:
    def run(own: Job) -> str:
        raise error

    with pytest.raises(type(error)):
        run_locked(job, run)
    progress = read_progress(progress_path(job.data, job.stage))
    assert progress is not None and (progress.state, progress.text) == (state, text)


def test_it_is_written_once_a_second_however_often_work_advances(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    written: list[float] = []
    replace = _progress.os.replace
    monkeypatch.setattr(_progress.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(_progress.os, "replace", lambda *paths: (written.append(clock[0]), replace(*paths)))
    with ProgressFile(progress_path(job.data, "report"), "report") as file:
        file.begin("", "row", 10_000)
        before = len(written)
        for _ in range(10_000):
            clock[0] += 0.01  # hundred times a second for a hundred seconds
            file.advance(1)
    # each write sets the next one a second later; sums of 0.01 may round to one step more
    assert 98 <= len(written) - before - 1 <= 100


def test_a_resumed_training_goes_on_with_the_curves_of_the_killed_one(job: Job) -> None:
    path = progress_path(job.data, "train_model")
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


def test_a_file_that_cannot_be_written_stops_no_stage(job: Job) -> None:
    job.data.mkdir()
    (job.data / "runs").mkdir()
    (job.data / "runs" / "progress").write_text("a file where a folder would be: root, too, cannot write below it")
    run_locked(job, lambda own: "done")
    assert json.loads((job.data / "runs" / "report.json").read_text())["summary"] == "done"


def test_an_experiment_beside_the_run_leaves_no_progress(job: Job, tmp_path: Path) -> None:
    beside = Job(job.stage, job.params, job.data, tmp_path / "elsewhere", quiet=True)
    run_locked(beside, lambda own: "done")
    assert not progress_path(job.data, job.stage).exists()


def test_a_process_that_is_gone_was_killed_and_one_elsewhere_is_believed(job: Job) -> None:
    path = progress_path(job.data, "report")
    code = (
        "import os, sys\nfrom pathlib import Path\nfrom stages._progress import ProgressFile\n"
        "file = ProgressFile(Path(sys.argv[1]), 'report')\nfile.begin('', 'row', 4)\nos._exit(9)"
    )
    subprocess.run([sys.executable, "-c", code, str(path)], cwd=ROOT, check=False)
    assert state_of(job) == "killed"
    fields = json.loads(path.read_text())
    path.write_text(json.dumps(fields | {"host": "another machine"}))
    assert state_of(job) == "running"
    path.write_text(json.dumps(fields | {"process": 1, "process_started": 0}))  # its number was given again
    assert state_of(job) == "killed"


@pytest.mark.parametrize("content", ["", "{", "[]", '{"state": "running"}', '{"stage": 1}'])
def test_a_foreign_file_is_no_progress(tmp_path: Path, content: str) -> None:
    (tmp_path / "report.json").write_text(content)
    assert read_progress(tmp_path / "report.json") is None
    assert read_progress(tmp_path / "none.json") is None
