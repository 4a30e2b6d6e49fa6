"""A page on this machine alone: drop a photo, see its class, how sure that is, and the nearest training images.

\b
  python -m stages.serve                      then open the address that it prints
  python -m stages.serve --bundle my_bundle   an exported bundle, without training images

Only programs on this machine can reach it, uploads are at most 32 MiB, and nothing is stored but the answer.
Ctrl-C ends it.
"""

from pathlib import Path
from typing import Annotated

import typer

from pipeline.config.params import read_params
from stages import _serve as steps
from stages._cli import DATA, PARAMS, Data, Debug, Job, Overrides, Values, description, make_app
from stages._process import running

app = make_app()


@app.command(help=description())
def main(  # noqa: PLR0913, PLR0917 - one per flag
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes any that is free")] = 8377,
    bundle: Annotated[Path | None, typer.Option(help="an exported bundle, not the project's classifier")] = None,
    views: Annotated[str | None, typer.Option("--views", help="as for predict")] = None,
    params: Values = PARAMS,
    override: Overrides = None,
    data: Data = DATA,
    debug: Debug = False,
) -> None:
    """Load the classifier, serve until interrupted."""
    with running("serve", debug):
        from pipeline.inference.server import make_server

        job = Job("serve", read_params(params, override or []), data, data, quiet=False)
        service = steps.make_service(job, bundle, views, override or [])
        with make_server(service, port) as server:
            typer.echo(f"serve: open http://127.0.0.1:{server.server_address[1]}/ (Ctrl-C ends it)")
            try:
                server.serve_forever()
            except KeyboardInterrupt:
                typer.echo("serve: ended")


if __name__ == "__main__":
    app()
