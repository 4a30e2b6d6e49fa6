"""SIGKILL at any moment, then the same command: the files of an undisturbed run, and no finished part twice.

`pytest tests/faults/test_kill.py --kills 500` kills as often as you like.
"""

import hashlib
import io
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cache.reader import read_file

STAGES = ("augment", "featurize", "train_head", "pretrain", "train_model", "gan")
SEED = 20260203
STEPS = 24 // 4  # of pretrain and train_model an epoch: images by batch
Start = Callable[..., Any]


def rows_in(folder: Path) -> int:
    """Rows of all complete parts below a folder."""
    return sum(len(read_file(path, "part").rows) for path in folder.glob("*/*.h5"))


def steps_in(store: Path) -> int:
    """Steps of training that the checkpoint holds, which must be whole whenever the stage was killed."""
    checkpoints = list((store / "checkpoints").rglob("*.pt"))
    if not checkpoints:
        return 0
    content = checkpoints[0].read_bytes()
    assert len(checkpoints) == 1 and hashlib.sha256(content[32:]).digest() == content[:32]
    state = torch.load(io.BytesIO(content[32:]), weights_only=True)
    if "samples" in state:  # of a GAN that has finished
        return len(state["losses"])
    return int(state["iteration"] if "iteration" in state else state["epoch"] * STEPS + state["step"])


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_killed_at_random_moments_ends_as_if_it_had_not_been(
    stage: str, place: Any, reference: Any, start: Start, pytestconfig: pytest.Config
) -> None:
    place.adopt(reference, "prepare", *STAGES[: STAGES.index(stage)])
    quiet = start(place, stage)
    assert quiet.wait() == 0, quiet.text
    duration = time.perf_counter() - quiet.started
    forget(stage, place)
    random = np.random.default_rng([SEED, STAGES.index(stage)])
    kills = 0
    asked = -(-pytestconfig.getoption("--kills") // len(STAGES))
    tries = 0
    while kills < asked:
        tries += 1
        held = rows_in(place.store / "features")
        reached = steps_in(place.store)
        child = start(place, stage)
        time.sleep(random.uniform(0, duration))
        child.send(signal.SIGKILL)
        killed = child.wait() == -signal.SIGKILL
        kills += killed
        assert rows_in(place.store / "features") >= held
        assert steps_in(place.store) >= reached
        if not killed or tries % 4 == 0:  # finish what was killed, then start anew
            check_repeat(stage, place, reference, start)
            forget(stage, place)
    check_repeat(stage, place, reference, start)


def check_repeat(stage: str, place: Any, reference: Any, start: Start) -> None:
    """The same command completes: the same bytes, nothing half written, only what was not finished computed."""
    held = rows_in(place.store / "features")
    parts = rows_in(place.data / "augment" / ".parts")
    again = start(place, stage)
    assert again.wait() == 0, again.text
    assert place.contents(stage) == reference.contents(stage)
    assert not [*place.data.rglob("*.partial"), *place.store.rglob("*.partial")]
    if stage == "featurize":
        assert place.computed(stage) == 3 * 36 - held
    if stage == "augment":
        assert place.computed(stage) <= 2 * 36 - parts


def forget(stage: str, place: Any) -> None:
    for folder in (place.data / stage, place.store / "features", place.store / "checkpoints"):
        shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.parametrize("stage", ["augment", "featurize"])
def test_a_half_file_of_a_killed_stage_is_removed_by_the_repeat(
    stage: str, place: Any, reference: Any, start: Start
) -> None:
    place.adopt(reference, "prepare", "augment", "featurize", store=True)
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    (place.data / "runs").mkdir(exist_ok=True)
    for folder, name in ((place.data / stage, "train-color_1.h5"), (place.data / "runs", f"{stage}.json")):
        (folder / f"{name}.{socket.gethostname()}.{dead.pid}.1.partial").write_bytes(b"half")
    again = start(place, stage)
    assert again.wait() == 0, again.text
    assert not list(place.data.rglob("*.partial"))
    assert place.contents(stage) == reference.contents(stage)


def test_parts_left_by_a_kill_after_the_last_file_are_removed(place: Any, reference: Any, start: Start) -> None:
    place.adopt(reference, "prepare", "augment")
    leftover = place.data / "augment" / ".parts" / ("0" * 32)
    leftover.mkdir(parents=True)
    (leftover / "0.h5").write_bytes(b"part")
    again = start(place, "augment")
    assert again.wait() == 0, again.text
    assert place.contents("augment") == reference.contents("augment")


@pytest.mark.parametrize(("stage", "number"), [("augment", signal.SIGTERM), ("featurize", signal.SIGINT)])
def test_a_stage_that_is_interrupted_says_so_in_one_line_and_goes_on_later(
    stage: str, number: signal.Signals, place: Any, reference: Any, start: Start
) -> None:
    """In a fresh interpreter, as DVC and people start it; the other two pairs below."""
    place.adopt(reference, *("prepare", "augment")[: STAGES.index(stage) + 1])
    command = [sys.executable, "-m", *place.arguments(stage, f"{stage}.rows_per_task=1")]
    own = os.environ | {"AUGCACHE_STORE": str(place.store)}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, env=own, preexec_fn=hear_ctrl_c, **pipes) as process:  # noqa: PLW1509
        wait_for_parts(stage, place)
        process.send_signal(number)
        output, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert errors == f"{stage}: interrupted; finished work is kept, run the same command to go on\n"
    assert output == ""
    check_repeat(stage, place, reference, start)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("stage", ["augment", "featurize"])
def test_an_interrupt_leaves_nothing_half_written(
    stage: str, number: signal.Signals, place: Any, reference: Any, start: Start
) -> None:
    place.adopt(reference, *("prepare", "augment")[: STAGES.index(stage) + 1])
    child = start(place, stage, f"{stage}.rows_per_task=1")
    wait_for_parts(stage, place)
    child.send(number)
    assert child.wait() == 130, child.text
    assert child.text == f"{stage}: interrupted; finished work is kept, run the same command to go on\n"
    assert not [*place.data.rglob("*.partial"), *place.store.rglob("*.partial")]


def hear_ctrl_c() -> None:
    """A shell's background jobs, such as a test run may be, ignore Ctrl-C, and so do their children."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def wait_for_parts(stage: str, place: Any) -> None:
    parts = place.store / "features" if stage == "featurize" else place.data / "augment" / ".parts"
    deadline = time.monotonic() + 90
    while not list(parts.glob("*/*.h5")):
        assert time.monotonic() < deadline
        time.sleep(0.002)
