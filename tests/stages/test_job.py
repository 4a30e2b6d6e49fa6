"""What a job tells of itself while it runs: its progress file, and how it ended."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from cache.errors import InputError
from pipeline.runtime.progress_file import progress_path, read_progress
from stages._job import Job, run_locked


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
