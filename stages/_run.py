"""What `run` does to start once: stages that need no torch run in a process while this one loads it."""

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

import typer

from cache.errors import StorageError
from stages._backbones import make_featurizer
from stages._cli import Flags
from stages._job import Job

GRACE = 1.0  # seconds for a process to end by itself: a terminal's Ctrl-C reaches it too


def run_while_loading(stages: Sequence[str], flags: Flags, job: Job) -> None:
    """Run these stages in a process while this one makes featurize's backbone ready, which then is kept.

    Raises Exit with the code of a stage that fails, StorageError if the process is killed, and what is wrong with the
    backbone, which ends the process. If this process is killed, the other one goes on, under its stages' locks.
    """
    command = [sys.executable, "-m", "stages.run", *stages, *flags.arguments]
    with _ended(subprocess.Popen(command)) as process:  # noqa: S603 - no shell
        _ = make_featurizer(job).resolved
        code = process.wait()
    if code < 0:
        remedy = "Is there too little memory? Run the same command to go on."
        raise StorageError(f"{' or '.join(stages)} was killed", found=f"signal {-code}", remedy=remedy)
    if code:
        raise typer.Exit(code)


@contextmanager
def _ended(process: "subprocess.Popen[bytes]") -> "Iterator[subprocess.Popen[bytes]]":
    """The process, which has ended when the block is left."""
    try:
        yield process
    except KeyboardInterrupt:
        with suppress(subprocess.TimeoutExpired):
            process.wait(GRACE)
        raise
    finally:
        process.terminate()
        process.wait()
