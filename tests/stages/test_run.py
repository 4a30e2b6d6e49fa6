"""run: several stages by one command; files are those of the stages by themselves, and no process is left behind."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import PIPE

import psutil
import pytest
from filelock import FileLock

from stages._job import lock_path

ROOT = Path(__file__).resolve().parents[2]
STAGES = ("prepare", "augment", "featurize", "train_head")
DRAWN = ["--set", "augment.variants=[mild_1]", "--set", "train_head.schedule=[unaugmented x 4, mild_1 x 2]"]


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "stages.run", *arguments]
    return subprocess.run(line, capture_output=True, text=True, cwd=ROOT, check=False)


def files(folder: Path) -> dict[str, bytes]:
    paths = [path for name in STAGES for path in sorted((folder / name).rglob("*")) if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def test_files_are_those_of_the_stages_by_themselves(
    project: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In their own order, whatever the order on the command line; each way with a store of its own."""
    sets = [*project[2:], *DRAWN]
    for stage in STAGES:
        line = [sys.executable, "-m", f"stages.{stage}", "--data", str(tmp_path / "separate"), *sets]
        subprocess.run(line, cwd=ROOT, check=True, capture_output=True)
    monkeypatch.setenv("AUGCACHE_STORE", str(tmp_path / "other-store"))
    done = command("train_head", "featurize", "augment", "prepare", "--data", str(tmp_path / "one"), *sets)
    assert done.returncode == 0, done.stderr
    summaries = [line for line in done.stdout.splitlines() if line.endswith(" s)")]
    assert [line.partition(":")[0] for line in summaries] == list(STAGES)
    assert "60 computed, 0 from the cache" in summaries[2]
    assert "augment/train-mild_1.h5" in files(tmp_path / "one")
    assert files(tmp_path / "one") == files(tmp_path / "separate")


def test_the_first_error_ends_the_run_in_one_line(tmp_path: Path) -> None:
    done = command("featurize", "train_head", "--data", str(tmp_path))
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.count("\n") == 1 and done.stderr.endswith("Run prepare.\n")


def test_an_unknown_stage_is_refused_before_any_work(project: list[str], tmp_path: Path) -> None:
    done = command("prepare", "trainhead", "--data", str(tmp_path / "none"), *project[2:])
    assert done.returncode == 2 and not (tmp_path / "none").exists()
    assert "there is no stage trainhead; there are prepare, augment, gan" in " ".join(done.stderr.split())


def test_a_failure_of_the_stages_beside_the_loading_ends_the_run(tmp_path: Path) -> None:
    done = command("prepare", "featurize", "--data", str(tmp_path / "data"), "--set", f"prepare.source={tmp_path}/none")
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.count("\n") == 1 and f"{tmp_path}/none" in done.stderr


@contextmanager
def held_up(data: Path, *sets: str) -> Iterator[tuple["subprocess.Popen[str]", psutil.Process]]:
    """A run, and its process of prepare, which waits for a lock that is held here."""
    line = [sys.executable, "-m", "stages.run", "prepare", "featurize", "--data", str(data), *sets]
    with FileLock(lock_path(data / "prepare")), subprocess.Popen(line, stderr=PIPE, text=True, cwd=ROOT) as process:
        try:
            assert process.stderr is not None
            assert "waiting for another run" in process.stderr.readline()
            (beside,) = psutil.Process(process.pid).children()
            yield process, beside
        finally:
            for left in psutil.Process(process.pid).children() if process.poll() is None else []:
                left.kill()
            process.kill()


def ended(process: "subprocess.Popen[str]", beside: psutil.Process) -> tuple[int, str]:
    """The exit code and what was said since; the process beside has ended before."""
    code = process.wait(120)
    assert not beside.is_running()
    assert process.stderr is not None
    return code, process.stderr.read()


def test_a_stop_stops_the_stages_beside_the_loading_first(project: list[str], tmp_path: Path) -> None:
    with held_up(tmp_path / "stopped", *project[2:]) as (process, beside):
        process.send_signal(signal.SIGTERM)
        code, said = ended(process, beside)
    assert code == 130
    assert "prepare: interrupted" in said and "featurize: interrupted" in said


def test_stages_beside_the_loading_that_are_killed_are_one_line(project: list[str], tmp_path: Path) -> None:
    with held_up(tmp_path / "killed", *project[2:]) as (process, beside):
        beside.kill()
        code, said = ended(process, beside)
    assert code == 2 and said.count("\n") == 1
    assert "prepare was killed; found signal 9. Is there too little memory?" in said


def test_a_backbone_that_cannot_be_ends_the_stages_beside_it(project: list[str], tmp_path: Path) -> None:
    """They would wait for a lock for ever."""
    with FileLock(lock_path(tmp_path / "wrong" / "prepare")):
        wrong = f"featurize.weights={tmp_path}/none.safetensors"
        done = command("--data", str(tmp_path / "wrong"), *project[2:], "--set", wrong)
    assert done.returncode == 2
    assert f"{tmp_path}/none.safetensors" in done.stderr and "Traceback" not in done.stderr
