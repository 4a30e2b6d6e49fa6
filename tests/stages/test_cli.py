"""What every command line shares: help, errors as one line and exit code 2, the lock, the record of a run."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock

from cache.errors import StorageError
from pipeline.config.params import read_params
from stages._job import Job, lock_path, run_locked

ROOT = Path(__file__).resolve().parents[2]
PARAMS = read_params(ROOT / "params.yaml")


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "stages.train_head", *arguments]
    return subprocess.run(line, capture_output=True, text=True, cwd=ROOT, check=False)


def test_a_wrong_value_is_one_line_and_exit_code_2(tmp_path: Path) -> None:
    done = command("--data", str(tmp_path), "--set", "train_head.lr=-1")
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("error: params.yaml train_head.lr") and done.stderr.count("\n") == 1


def test_a_missing_input_says_what_to_run(tmp_path: Path) -> None:
    done = command("--data", str(tmp_path))
    assert done.returncode == 2
    assert done.stderr.endswith("Run featurize.\n") and done.stderr.count("\n") == 1


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    assert "Traceback" in command("--data", str(tmp_path), "--debug").stderr


def test_a_run_is_recorded_and_an_experiment_beside_it_is_not(tmp_path: Path) -> None:
    def run(job: Job) -> str:
        job.facts["rows"] = 3
        return "three rows"

    data = tmp_path / "data"
    run_locked(Job("report", PARAMS, data, tmp_path / "elsewhere", quiet=True), run)
    assert not (data / "runs").exists()
    run_locked(Job("report", PARAMS, data, data / "report", quiet=True), run)
    record = json.loads((data / "runs" / "report.json").read_text(encoding="utf-8"))
    assert record["summary"] == "three rows" and record["rows"] == 3


def test_two_runs_of_one_output_wait_for_each_other(tmp_path: Path, store: Path) -> None:
    """DVC's orphaned stage and its rerun: the second starts when the first is done."""
    job = Job("report", PARAMS, tmp_path / "data", tmp_path / "data" / "report", quiet=True)

    def run(inner: Job) -> str:
        held = next((store / "locks").iterdir())
        with pytest.raises(TimeoutError):
            FileLock(held).acquire(timeout=0.05)
        return "alone"

    run_locked(job, run)


def test_the_operating_system_s_errors_are_one_line(tmp_path: Path) -> None:
    def run(job: Job) -> str:
        raise PermissionError(13, "Permission denied", "/somewhere/file")

    with pytest.raises(StorageError, match="/somewhere/file: cannot write: Permission denied"):
        run_locked(Job("report", PARAMS, tmp_path, tmp_path / "report", quiet=True), run)


def test_a_flag_of_one_stage_is_no_flag_of_another() -> None:
    for flag in ("--tune", "--recipe", "--train_head"):
        done = command(flag)
        assert done.returncode == 2 and f"No such option: {flag}" in done.stderr


def test_say_prints_one_line_with_the_stage_s_name(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    job = Job("prepare", PARAMS, tmp_path, tmp_path / "prepare", quiet=True)
    with job.progress(3, "image") as advance:
        advance(1)
        job.say("3 files were left out")
    assert capsys.readouterr().out == "prepare: 3 files were left out\n"


def test_a_stage_s_own_flag_is_an_override_of_its_section(tmp_path: Path) -> None:
    line = [sys.executable, "-m", "stages.train_model", "--data", str(tmp_path), "--recipe"]
    done = subprocess.run([*line, "no-such-recipe"], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 2 and "no-such-recipe" in done.stderr and done.stderr.count("\n") == 1
    done = subprocess.run([*line, "none"], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.startswith("train_model: off (train_model.recipe is none)")


def test_the_lock_of_a_store_that_cannot_be_written_lies_in_the_temporary_folder(
    tmp_path: Path, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    assert lock_path(tmp_path / "out").parent == store / "locks"
    monkeypatch.setenv("AUGCACHE_STORE", str(tmp_path / "file" / "store"))
    (tmp_path / "file").write_text("a file where a folder would be: root, too, cannot write below it")
    assert lock_path(tmp_path / "out").parent == tmp_path / "temporary" / "augcache-locks"
    job = Job("report", PARAMS, tmp_path / "data", tmp_path / "data" / "report", quiet=True)
    run_locked(job, lambda inner: "done")
