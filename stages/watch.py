"""Show how far a run in another terminal is: each stage, the time left, and curves while heads and models train.

\b
  python -m stages.watch                    in this terminal, until Ctrl-C
  python -m stages.watch --once             print the state and end
  python -m stages.watch --page watch.html  a page as well, which loads itself again
  python -m stages.watch --port 8378        the same page on this machine alone

It reads what stages, `start` and DVC leave on disk and writes nothing but the page, so it may start and end at any
time. Times left are at the rate so far, and by the last run or the estimate of `start`; else they are unknown.
"""

import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from stages._cli import DATA, PARAMS, Data, Debug, Values, description, make_app
from stages._process import running

app = make_app()


@app.command(help=description())
def main(  # noqa: PLR0913, PLR0917 - one per flag
    once: Annotated[bool, typer.Option("--once", help="print the state and end")] = False,
    page: Annotated[Path | None, typer.Option(help="an HTML file to write as well")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="serve the page; 0 takes any port")] = None,
    seconds: Annotated[float, typer.Option(min=0.2, help="between two looks")] = 1.0,
    params: Values = PARAMS,
    data: Data = DATA,
    debug: Debug = False,
) -> None:
    """Look, show, wait."""
    with running("watch", debug), ExitStack() as stack:
        from pipeline.runtime.loopback import page_server
        from stages._watch_loop import Viewer, place_of

        viewer = Viewer(place_of(params, data), page, seconds)
        if once:
            viewer.print_once()
            return
        if port is not None:
            server = stack.enter_context(page_server(viewer.html, port))
            threading.Thread(target=server.serve_forever, daemon=True).start()
            typer.echo(f"watch: open http://127.0.0.1:{server.server_address[1]}/")
        try:
            viewer.run(time.sleep)
        except KeyboardInterrupt:
            viewer.end()


if __name__ == "__main__":
    app()
