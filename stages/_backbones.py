"""The command line of featurize, which can also list backbones, and measure how fast each engine is."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.config.shared.featurize import OFFICIAL
from stages._cli import (
    DATA,
    PARAMS,
    Data,
    Debug,
    Flags,
    Overrides,
    Quiet,
    Values,
    describe_section,
    description,
    make_app,
    out_option,
)
from stages._job import Job, run_locked
from stages._process import run_to_end, running

if TYPE_CHECKING:
    from pipeline.features.featurizer import Featurizer

STAGE = "featurize"
TUNE = "write nothing; measure what is fastest here, and print what to set"
BACKBONES = "write nothing; list backbones: weights, size, input size, licence, AdvProp or not, and what is on disk"


def run_featurize(run: Callable[[Job], str]) -> None:
    """Parse the command line; run the stage, or print what a flag asks for instead."""
    app = make_app()
    folder = out_option(STAGE)

    @app.command(help=description(), epilog=describe_section(STAGE))
    def command(  # noqa: PLR0913, PLR0917 - one per flag
        pattern: Annotated[str, typer.Argument(help="with --backbones: names to list, such as 'timm:*b0*'")] = "",
        params: Values = PARAMS,
        override: Overrides = None,
        data: Data = DATA,
        out: Annotated[Path | None, folder] = None,
        quiet: Quiet = False,
        debug: Debug = False,
        tuning: Annotated[bool, typer.Option("--tune", help=TUNE)] = False,
        backbones: Annotated[bool, typer.Option("--backbones", help=BACKBONES)] = False,
        weights_folder: Annotated[str | None, typer.Option(help="with --backbones: folder of official files")] = None,
    ) -> None:
        if pattern and not backbones:
            raise typer.BadParameter("names to list go with --backbones", param_hint=repr(pattern))
        with running(STAGE, debug):
            if backbones:
                _print(_backbone_lines(pattern, weights_folder))
                return
            job = Flags(params, override, data, out, quiet, debug).job(STAGE)
            if tuning:
                _print(_tune_lines(job))
            else:
                run_locked(job, run)

    run_to_end(app)


def make_featurizer(job: Job) -> "Featurizer":
    """The featurizer that the job's configuration names, its weights fetched."""
    from pipeline.features.featurizer import Featurizer
    from pipeline.features.weights import fetch_weights

    config = job.params.featurize
    if config.weights in OFFICIAL:  # here, where progress can be shown
        fetch_weights(config.backbone, config.weights, config.weights_folder, job.progress)
    return Featurizer(config)


def _print(lines: Iterator[str]) -> None:
    for line in lines:
        typer.echo(line)


def _backbone_lines(pattern: str, weights_folder: str | None) -> Iterator[str]:
    from pipeline.features.catalogue import backbone_lines

    yield from backbone_lines(pattern, weights_folder)


def _tune_lines(job: Job) -> Iterator[str]:
    from pipeline.features.tune import tune_lines

    yield from tune_lines(job.params.featurize)
