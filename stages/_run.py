"""What `run` does to start once: stages that need no torch, beside the loading of it."""

import subprocess
import sys
from contextlib import suppress

import typer

from cache.errors import AugcacheError
from stages._backbones import make_featurizer
from stages._cli import Flags


def run_while_loading(light: list[str], flags: Flags) -> None:
    """Run these stages in a process while this one makes the backbone ready. Raises Exit if one of them fails."""
    job = flags.job("featurize")
    command = [sys.executable, "-m", "stages.run", *light, *flags.arguments]
    with subprocess.Popen(command) as process:  # noqa: S603 - no shell
        try:
            with suppress(AugcacheError, OSError):  # what is wrong featurize says itself, in its turn
                make_featurizer(job)
            code = process.wait()
        except KeyboardInterrupt:
            process.terminate()
            raise
    if code:
        raise typer.Exit(code if code > 0 else 128 - code)
