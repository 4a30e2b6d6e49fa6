"""What featurize prints instead of running: backbones by name, and how fast each engine is."""

from collections.abc import Iterator
from typing import Annotated

import typer

from stages._cli import Debug, Job, make_app
from stages._process import running


def tune(job: Job) -> Iterator[str]:
    """Time every engine on this machine; say which is fastest."""
    from pipeline.features.tune import tune_lines

    return tune_lines(job.params.featurize)


def list_backbones() -> None:
    """Print a line per backbone and leave the process."""
    app = make_app()

    @app.command(help="List backbones: weights, size, input size, licence, AdvProp or not, and what is on disk.")
    def command(
        backbones: Annotated[bool, typer.Option("--backbones", help="list backbones")],
        pattern: Annotated[str, typer.Argument(help="names to list, such as 'timm:*b0*'")] = "",
        folder: Annotated[str | None, typer.Option("--weights-folder", help="folder of official files")] = None,
        debug: Debug = False,
    ) -> None:
        with running("featurize", debug):
            from pipeline.features.catalogue import backbone_lines

            for line in backbone_lines(pattern, folder):
                typer.echo(line)

    app()
