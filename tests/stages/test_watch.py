"""`python -m stages.watch`: beside a run, after a kill, on an empty folder, on narrow terminals, in a pipe."""

import json
import os
import pty
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipeline.report.watch_page import Watched, WatchedStage, duration
from pipeline.runtime.loopback import page_server
from stages._watch_loop import Viewer, place_of
from stages._watch_terminal import curve_lines, news, sparkline
from stages.watch import app

ROOT = Path(__file__).resolve().parents[2]
PARAMS = ROOT / "params.yaml"
SLOW = """
import sys, time
from pathlib import Path
from pipeline.config.params import read_params
from stages._job import Job, run_locked
data = Path(sys.argv[1])
def run(job):
    with job.watch(100, "image") as watch:
        watch.advance(10)
        for epoch in (1, 2, 3):
            watch.log({"epoch": epoch, "variant": "unaugmented", "val_accuracy": epoch / 4, "val_loss": 1 / epoch})
        time.sleep(1.1)
        watch.advance(15)
        print("ready", flush=True)
        time.sleep(300)
run_locked(Job("train_head", read_params(Path("params.yaml")), data, data / "train_head", quiet=True), run)
"""


@contextmanager
def training(data: Path) -> Iterator[subprocess.Popen[str]]:
    """A stage in a process of its own, at 25 of 100 images after three epochs."""
    command = [sys.executable, "-c", SLOW, str(data)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        try:
            yield process
        finally:
            process.kill()


def watch(data: Path, *flags: str, **environment: str) -> str:
    """What another process prints once."""
    command = [sys.executable, "-m", "stages.watch", "--once", "--data", str(data), *flags]
    own = {name: value for name, value in os.environ.items() if name != "COLUMNS"} | environment
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, env=own)
    assert done.stderr == ""
    return done.stdout


def row_of(shown: str, stage: str) -> list[str]:
    return next(line.split() for line in shown.splitlines() if line.startswith(f"{stage} "))


def test_a_stage_that_runs_in_another_process_is_shown(tmp_path: Path) -> None:
    with training(tmp_path) as process:
        shown = watch(tmp_path)
        assert row_of(shown, "train_head")[1] == "running"
        assert "train_head  25 of 100 images  25%" in shown
        assert "accuracy val" in shown and "25.0% to 75.0%" in shown and "▁▅█" in shown
        assert row_of(shown, "train_model")[1:] == ["waits", "unknown", "for", "prepare"]
        assert "time left: about" in shown and "unknown for 6 stages" in shown
        process.kill()
        process.wait()
        after = watch(tmp_path)
    assert row_of(after, "train_head")[1] == "killed" and "its process is gone" in after
    assert "nothing runs" in after


def test_a_zombie_counts_as_killed(tmp_path: Path) -> None:
    """Its parent, such as dvc, may not have asked for its end yet."""
    with training(tmp_path) as process:
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert row_of(watch(tmp_path), "train_head")[1] == "killed"


def test_an_empty_data_folder_says_that_all_stages_wait(tmp_path: Path) -> None:
    shown = watch(tmp_path / "none")
    assert row_of(shown, "prepare")[1:] == ["waits", "unknown", "has", "not", "run", "yet"]
    assert row_of(shown, "gan")[1] == "off"
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("columns", [20, 40, 59, 60, 80])
def test_no_line_is_wider_than_the_terminal(tmp_path: Path, columns: int) -> None:
    (tmp_path / "runs").mkdir()
    record = {"stage": "prepare", "summary": "a long summary " * 20, "seconds": 2.0}
    (tmp_path / "runs" / "prepare.json").write_text(json.dumps(record))
    with training(tmp_path):
        shown = watch(tmp_path, COLUMNS=str(columns))
    assert max(map(len, shown.splitlines())) <= columns
    assert ("a long summary" in shown) == (columns >= 60)
    assert columns < 40 or row_of(shown, "train_model")[1] == "waits"


def test_a_terminal_that_knows_ascii_alone_gets_ascii(tmp_path: Path) -> None:
    with training(tmp_path):
        shown = watch(tmp_path, PYTHONIOENCODING="ascii", COLUMNS="80")
    assert shown.isascii() and "_+@" in shown and "25%" in shown


def test_a_terminal_is_drawn_anew_until_it_is_interrupted(tmp_path: Path) -> None:
    leader, follower = pty.openpty()
    command = [sys.executable, "-m", "stages.watch", "--data", str(tmp_path), "--seconds", "0.2"]
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "70", "LINES": "24"}
    with training(tmp_path), subprocess.Popen(command, cwd=ROOT, stdout=follower, env=environment) as process:
        os.close(follower)
        seen = b""
        while seen.count(b"25 of 100 images") < 3:
            seen += os.read(leader, 65536)
        process.send_signal(signal.SIGINT)
        while b"watch: ended" not in seen:
            seen += os.read(leader, 65536)
        assert process.wait() == 0
    os.close(leader)
    assert b"\x1b[" in seen


def test_in_a_pipe_there_is_a_line_per_change(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "stages.watch", "--data", str(tmp_path), "--seconds", "0.2"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        first = [process.stdout.readline() for _ in range(8)]
        assert [line.split()[2] for line in first][:3] == ["prepare", "augment", "gan"]
        with training(tmp_path):
            line = process.stdout.readline()
            while "25 of 100" not in line:
                assert "train" in line or "evaluate" in line or "report" in line
                line = process.stdout.readline()
        assert " train_head running: 25 of 100 images, " in line and line.endswith(" left\n")
        process.send_signal(signal.SIGINT)
        assert "watch: ended\n" in process.stdout.read()


def test_news_are_changes_and_tenths_of_a_step() -> None:
    def at(share: float, state: str = "running") -> Watched:
        return Watched((WatchedStage("augment", state, step="3 of 10 images", share=share, left=5),), "12:00:00")

    assert news(None, at(0.31)) == ["watch: 12:00:00 augment running: 3 of 10 images, 5 s left"]
    assert news(at(0.31), at(0.39)) == []
    assert len(news(at(0.39), at(0.4))) == len(news(at(0.4), at(0.4, "killed"))) == 1


def test_the_page_is_served_to_this_machine_alone(tmp_path: Path) -> None:
    viewer = Viewer(place_of(PARAMS, tmp_path), None, 2.0)
    with page_server(viewer.html, 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        address = f"http://127.0.0.1:{server.server_address[1]}"
        try:
            with urllib.request.urlopen(f"{address}/", timeout=60) as reply:
                page = reply.read().decode()
            foreign = urllib.request.Request(f"{address}/", headers={"Host": "evil.example"})
            with pytest.raises(urllib.error.HTTPError, match="403"):
                urllib.request.urlopen(foreign, timeout=60)
            with pytest.raises(urllib.error.HTTPError, match="404"):
                urllib.request.urlopen(f"{address}/params.yaml", timeout=60)
        finally:
            server.shutdown()
            thread.join()
        assert server.server_address[0] == "127.0.0.1"
        taken = CliRunner().invoke(app, ["--data", str(tmp_path), "--port", str(server.server_address[1])])
    assert "has not run yet" in page and 'http-equiv="refresh" content="2.0"' in page
    assert (taken.exit_code, taken.stderr.count("\n")) == (2, 1) and "cannot be served on" in taken.stderr


def test_numbers_and_curves_in_words() -> None:
    assert [duration(seconds) for seconds in (0.4, 59, 61, 601, 5999, 12_000)] == [
        *("0 s", "59 s", "1 min 1 s", "10 min", "1 h 39 min", "3 h 20 min"),
    ]
    assert sparkline([1, 2, 3, 4], 4, "abcd") == "abcd"
    assert sparkline(list(range(100)), 4, "abcd") == "abcd"
    assert sparkline([0, float("nan"), 1], 3, "ab") == "a b"
    assert sparkline([5, 5], 2, "ab") == "aa" and sparkline([], 5) == sparkline([1], 0) == ""
    rows = [{"epoch": 1, "train_loss": 2.0}, {"epoch": 2, "train_loss": 1.0, "val_accuracy_mild_1": 0.5}]
    assert curve_lines(rows, 80, "ab") == ["loss     train    ba 2 to 1", "accuracy val mild_1a 50.0%"]
    assert all(len(line) <= 12 for line in curve_lines(rows, 12))
