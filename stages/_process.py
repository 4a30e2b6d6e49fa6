"""What a command does to its own process: threads, memory, signals, its end, and errors as one line."""

import atexit
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import NoReturn

import typer

from cache.errors import AugcacheError
from pipeline.runtime.malloc import keep_freed_memory
from pipeline.runtime.threads import VARIABLE, usable_threads


@contextmanager
def running(command: str, debug: bool) -> Iterator[None]:
    """What every command runs in."""
    set_thread_defaults()
    keep_freed_memory()
    with sigterm_as_interrupt(), one_line_errors(command, debug):
        yield


def run_to_end(app: typer.Typer) -> NoReturn:
    """Run a command, end its threads and what has asked for it, and leave: taking torch apart takes half a second."""
    code: object = 0
    try:
        app()
    except SystemExit as end:
        code = end.code
    threading._shutdown()  # type: ignore[attr-defined]  # as Python does at its end: threads and pools first
    atexit._run_exitfuncs()
    for stream in filter(None, (sys.stdout, sys.stderr)):
        with suppress(BrokenPipeError):
            stream.flush()
    os._exit(code if isinstance(code, int) else int(code is not None))


def set_thread_defaults() -> None:
    """Defaults for OpenMP, which reads them once, when torch is imported; what the user has set stays.

    As many threads as the process may use, which in a container are fewer than OpenMP sees; and threads that sleep
    while they wait for each other: spinning ones take the processor from the one that they wait for (docs/speed.md).
    """
    os.environ.setdefault(VARIABLE, str(usable_threads()))
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")


@contextmanager
def sigterm_as_interrupt() -> Iterator[None]:
    """SIGTERM does what Ctrl-C does, so that a scheduler's stop is as orderly as a user's."""
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


@contextmanager
def one_line_errors(command: str, debug: bool) -> Iterator[None]:
    """A user's error is one line and exit code 2 (debug: a traceback), an interrupt is one line and 130."""
    try:
        yield
    except AugcacheError as error:
        if debug:
            raise
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from error
    except RuntimeError as error:
        if debug or type(error).__name__ != "OutOfMemoryError":  # torch's own; importing it here would cost seconds
            raise
        remedy = f"Set a smaller batch in section {command}, or device to cpu."
        typer.echo(f"error: the memory of the GPU is too small: {str(error).splitlines()[0]} {remedy}", err=True)
        raise typer.Exit(2) from error
    except KeyboardInterrupt as error:
        typer.echo(f"{command}: interrupted; finished work is kept, run the same command to go on", err=True)
        raise typer.Exit(130) from error
