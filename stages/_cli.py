"""What every command line shares: flags and help."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from pipeline.config.params import SECTIONS, read_params
from stages._job import Job, run_locked
from stages._process import run_to_end, running

__all__ = ["DATA", "PARAMS", "Data", "Debug", "Flags", "Job", "Overrides", "Quiet", "Values", "describe_section"]
__all__ += ["description", "make_app", "out_option", "run_stage", "run_stage_with_flag"]

DATA = Path("data")
PARAMS = Path("params.yaml")


Values = Annotated[Path, typer.Option(help="file of values")]
Overrides = Annotated[list[str] | None, typer.Option("--set", "-S", help="section.key=value, repeatable")]
Data = Annotated[Path, typer.Option(help="folder that holds one folder per stage")]
Quiet = Annotated[bool, typer.Option("--quiet", help="no progress bar")]
Debug = Annotated[bool, typer.Option("--debug", help="show the traceback of an error")]


@dataclass(frozen=True)
class Flags:
    """The flags that every stage has. out: none for the stage's own folder below data."""

    params: Path
    override: list[str] | None
    data: Path
    out: Path | None
    quiet: bool
    debug: bool

    @property
    def arguments(self) -> list[str]:
        """The same flags for another command, except `out`."""
        sets = [part for override in self.override or () for part in ("--set", override)]
        switches = [f"--{name}" for name in ("quiet", "debug") if getattr(self, name)]
        return ["--params", str(self.params), "--data", str(self.data), *sets, *switches]

    def job(self, stage: str, *more: str) -> Job:
        """The job that they describe, with more overrides. Raises ParamsError."""
        data = self.data.absolute()  # also for workers that were started elsewhere
        out = (self.out or data / stage).absolute()
        return Job(
            stage,
            read_params(self.params, [*(self.override or []), *more]),
            data,
            out,
            self.quiet,
            self.params.absolute(),
        )


def run_stage(stage: str, run: Callable[[Job], str]) -> None:
    """Parse the command line, run, print one line; a user's error is one line and exit code 2."""
    app = make_app()
    folder = out_option(stage)

    @app.command(help=description(), epilog=describe_section(stage))
    def command(
        params: Values = PARAMS,
        override: Overrides = None,
        data: Data = DATA,
        out: Annotated[Path | None, folder] = None,
        quiet: Quiet = False,
        debug: Debug = False,
    ) -> None:
        with running(stage, debug):
            run_locked(Flags(params, override, data, out, quiet, debug).job(stage), run)

    run_to_end(app)


def run_stage_with_flag(stage: str, run: Callable[[Job], str], key: str) -> None:
    """`run_stage`, and a key of the stage's section has a flag of its own: `--recipe x`."""
    app = make_app()
    folder = out_option(stage)
    option = typer.Option(f"--{key}", help=SECTIONS[stage].model_fields[key].description)

    @app.command(help=description(), epilog=describe_section(stage))
    def command(  # noqa: PLR0913, PLR0917 - one per flag
        params: Values = PARAMS,
        override: Overrides = None,
        data: Data = DATA,
        out: Annotated[Path | None, folder] = None,
        quiet: Quiet = False,
        debug: Debug = False,
        value: Annotated[str | None, option] = None,
    ) -> None:
        with running(stage, debug):
            chosen = [] if value is None else [f"{stage}.{key}={value}"]
            run_locked(Flags(params, override, data, out, quiet, debug).job(stage, *chosen), run)

    run_to_end(app)


def out_option(stage: str) -> Any:
    """`--out`, for a stage."""
    return typer.Option(help=f"where to write, instead of data/{stage}")


def make_app() -> typer.Typer:
    """A command line in the style of this project."""
    return typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


def description() -> str:
    """The docstring of the module that is run."""
    return sys.modules["__main__"].__doc__ or ""


def describe_section(stage: str) -> str:
    """The section's keys and their meaning, for --help."""
    fields = SECTIONS[stage].model_fields
    width = max(map(len, fields)) + 2
    rows = [f"  {name:<{width}}{info.description}" for name, info in fields.items()]
    return "\b\n" + "\n".join([f"Section `{stage}` of params.yaml:", *rows])
