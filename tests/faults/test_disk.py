"""A full disk, a read-only one, a file that disappears: one line, exit code 2, and nothing lost."""

import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

Start = Callable[..., Any]


def remount(disk: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", str(disk)], check=True)


def test_a_full_disk_is_one_line_and_the_repeat_goes_on(
    place: Any, reference: Any, start: Start, tiny_disk: Path
) -> None:
    place.adopt(reference, "prepare")
    (place.data / "augment").symlink_to(tiny_disk)
    child = start(place, "augment")
    assert child.wait() == 2, child.text
    assert child.text.startswith("error: ")
    assert "MiB free" in child.text
    assert child.text.endswith("Free some space and run the same command again: finished work is kept.\n")
    assert child.text.count("\n") == 1
    assert not list(tiny_disk.rglob("*.partial"))
    remount(tiny_disk, "size=8m")
    child = start(place, "augment")
    assert child.wait() == 0, child.text
    assert place.contents("augment") == reference.contents("augment")


def test_a_read_only_disk_is_one_line(place: Any, reference: Any, start: Start, tiny_disk: Path) -> None:
    place.adopt(reference, "prepare")
    (place.data / "augment").symlink_to(tiny_disk)
    remount(tiny_disk, "size=8m")  # else it is found to be too small first
    remount(tiny_disk, "ro")
    child = start(place, "augment")
    assert child.wait() == 2, child.text
    assert "Read-only file system. Choose a folder that can be written to." in child.text
    assert child.text.count("\n") == 1


def test_a_file_that_disappears_in_mid_run_is_one_line(place: Any, reference: Any, start: Start) -> None:
    place.adopt(reference, "prepare", "augment")
    child = start(place, "featurize", "featurize.rows_per_task=1")
    deadline = time.monotonic() + 60
    while not list((place.store / "features").glob("*/*.h5")):
        assert time.monotonic() < deadline
        time.sleep(0.002)
    child.send(signal.SIGSTOP)
    lost = place.data / "prepare" / "val.h5"
    kept = lost.rename(place.data / "kept.h5")
    child.send(signal.SIGCONT)
    assert child.wait() == 2, child.text
    assert child.text == f"error: {lost}: no such file. Run the stage that makes it.\n"
    shutil.move(kept, lost)
    child = start(place, "featurize")
    assert child.wait() == 0, child.text
    assert place.contents("featurize") == reference.contents("featurize")
