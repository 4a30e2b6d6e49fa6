"""run: several stages in one process, whose files are those of the stages by themselves."""

import signal
import subprocess
import sys
from pathlib import Path

from filelock import FileLock

from stages._job import lock_path

ROOT = Path(__file__).resolve().parents[2]


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "stages.run", *arguments]
    return subprocess.run(line, capture_output=True, text=True, cwd=ROOT, check=False)


def files(folder: Path) -> dict[str, bytes]:
    kept = ("prepare", "augment", "featurize", "train_head")
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for name in kept
        for path in (folder / name).rglob("*")
        if path.is_file()
    }


def test_files_are_those_of_the_stages_by_themselves(project: list[str], tmp_path: Path) -> None:
    """In their own order, whatever the order on the command line."""
    _, separate, *sets = project
    done = command("train_head", "featurize", "augment", "prepare", "--data", str(tmp_path / "one"), *sets)
    assert done.returncode == 0, done.stderr
    summaries = [line.partition(":")[0] for line in done.stdout.splitlines() if line.endswith(" s)")]
    assert summaries == ["prepare", "augment", "featurize", "train_head"]
    assert files(tmp_path / "one") == files(Path(separate))


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


def test_a_stop_stops_the_stages_beside_the_loading_too(project: list[str], tmp_path: Path) -> None:
    """They wait for a lock here, so that the stop comes before they end."""
    data = tmp_path / "stopped"
    line = [sys.executable, "-m", "stages.run", "prepare", "featurize", "--data", str(data), *project[2:]]
    path = lock_path(data / "prepare")
    with FileLock(path), subprocess.Popen(line, stderr=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stderr is not None
        assert "waiting for another run" in process.stderr.readline()
        process.send_signal(signal.SIGTERM)
        said = process.stderr.read()  # until the last process that could write has ended
    assert process.returncode == 130
    assert "prepare: interrupted" in said and "run: interrupted" in said
