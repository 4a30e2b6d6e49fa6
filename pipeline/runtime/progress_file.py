"""How far a stage is, as a small file beside its record, which `python -m stages.watch` reads from another terminal.

Written by the stage's own process, at most once a second, and replaced as a whole. It is no output: nothing depends on
it, and a file that cannot be written stops no stage.
"""

import json
import os
import socket
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import psutil

from cache.files import partial_name, remove_stale

SECONDS = 1.0  # between two writes
FOLDER = Path("runs") / "progress"  # below the data folder
RUNNING = "running"
DONE = "done"
FAILED = "failed"
INTERRUPTED = "interrupted"
KILLED = "killed"  # never written: said of a running stage whose process is gone
TEXT = 200  # characters of an error


def progress_path(data: Path, stage: str) -> Path:
    """The progress file of a stage."""
    return data / FOLDER / f"{stage}.json"


class ProgressFile:
    """What a running stage writes; a context manager that ends with how the stage ended."""

    def __init__(self, path: Path, stage: str) -> None:
        self.path = path
        before = read_progress(path)
        self._earlier = [] if before is None or before.state == DONE else before.curves
        own = psutil.Process()
        self._fields: dict[str, Any] = {
            "stage": stage,
            "state": RUNNING,
            "text": "",
            "host": socket.gethostname(),
            "process": own.pid,
            "process_started": own.create_time(),
            "started": time.time(),
            "step": None,
            "curves": [],
        }
        self._due = 0.0

    def __enter__(self) -> "ProgressFile":
        with suppress(OSError):
            remove_stale(self.path.parent)
        self._write()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if kind is None:
            self._fields["state"] = DONE
        elif issubclass(kind, KeyboardInterrupt):
            self._fields["state"] = INTERRUPTED
        else:
            lines = str(error).splitlines()
            self._fields |= {"state": FAILED, "text": (lines[0] if lines else kind.__name__)[:TEXT]}
        self._write()

    def begin(self, label: str, unit: str, total: int) -> None:
        """A step of the stage starts. total: how many of `unit` it has, 0 if that is unknown."""
        self._fields["step"] = {"label": label, "unit": unit, "total": total, "done": 0, "started": time.time()}
        self._write()

    def advance(self, count: int) -> None:
        """So many more are done."""
        self._fields["step"]["done"] += count
        if time.monotonic() >= self._due:
            self._write()

    def log(self, curve: Mapping[str, Any]) -> None:
        """A row of a training's curves. A training that resumes goes on with those of the run that was cut off."""
        rows = self._fields["curves"] or self._earlier
        self._fields["curves"] = [row for row in rows if row["epoch"] < curve["epoch"]] + [dict(curve)]
        if time.monotonic() >= self._due:
            self._write()

    def _write(self) -> None:
        self._due = time.monotonic() + SECONDS
        partial = self.path.with_name(partial_name(self.path))
        with suppress(OSError):  # a full disk must not end a stage that can go on
            self.path.parent.mkdir(parents=True, exist_ok=True)
            try:
                partial.write_text(json.dumps(self._fields | {"written": time.time()}), encoding="utf-8")
                os.replace(partial, self.path)
            finally:
                partial.unlink(missing_ok=True)


@dataclass(frozen=True)
class Step:
    """One step of a stage. total: 0 if it is unknown. seconds: since it began."""

    label: str
    unit: str
    total: int
    done: int
    seconds: float

    @property
    def share(self) -> float | None:
        """How much of it is done, 0 to 1; None if that is unknown."""
        return min(1.0, self.done / self.total) if self.total else None

    @property
    def seconds_left(self) -> float | None:
        """At the rate so far; None before anything is done."""
        return self.seconds * (1 / self.share - 1) if self.share else None


@dataclass(frozen=True)
class StageProgress:
    """What a stage's process says of itself. seconds: that it has run. text: why it failed. step: the latest one."""

    stage: str
    state: str
    text: str
    seconds: float
    written: float
    step: Step | None = None
    curves: list[dict[str, Any]] = field(default_factory=list)


def read_progress(path: Path) -> StageProgress | None:
    """The progress file of a stage; None if there is none, or if it is not one."""
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
        return _progress_of(fields)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def read_all_progress(data: Path) -> dict[str, StageProgress]:
    """What each stage that has run below a data folder says of itself."""
    read = [read_progress(path) for path in sorted((data / FOLDER).glob("*.json"))]
    return {progress.stage: progress for progress in read if progress is not None}


def _progress_of(fields: Mapping[str, Any]) -> StageProgress:
    state = fields["state"]
    now = fields["written"]
    if state == RUNNING:
        if _is_alive(fields):
            now = time.time()
        else:
            state = KILLED
    step = fields["step"]
    return StageProgress(
        stage=fields["stage"],
        state=state,
        text=fields["text"],
        seconds=max(0.0, now - fields["started"]),
        written=fields["written"],
        step=step and Step(step["label"], step["unit"], step["total"], step["done"], max(0.0, now - step["started"])),
        curves=fields["curves"],
    )


def _is_alive(fields: Mapping[str, Any]) -> bool:
    """Whether the process that wrote still runs. One on another machine cannot be asked, and is believed."""
    if fields["host"] != socket.gethostname():
        return True
    try:
        process = psutil.Process(fields["process"])
        same = abs(process.create_time() - float(fields["process_started"])) < 1  # second: numbers are given again
        return same and bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
