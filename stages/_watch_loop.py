"""Watch again and again: on the terminal, as lines, and as a page."""

import io
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import typer

from cache.files import write_text
from pipeline.config.params import read_params
from pipeline.estimate.stage_states import Place, stages_now
from pipeline.report.watch_page import Watched, render_watch
from stages._cli import DATA
from stages._table import PIPE_WIDTH
from stages._watch_terminal import news, render


def place_of(params: Path, data: Path) -> Place:
    """What flags name. Raises ParamsError."""
    return Place(params.absolute().parent, data.absolute(), read_params(params), data.absolute() == DATA.absolute())


@dataclass
class Viewer:
    """Shows a place. page: the file to write as well. seconds: between two looks."""

    place: Place
    page: Path | None
    seconds: float
    ended: bool = False

    def __post_init__(self) -> None:
        from rich.console import Console

        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors="replace")  # a terminal that knows ASCII alone
        width = None if sys.stdout.isatty() or "COLUMNS" in os.environ else PIPE_WIDTH
        self.console = Console(markup=False, highlight=False, width=width)

    def print_once(self) -> None:
        """The state of the moment, on the terminal and as a page that stays as it is."""
        watched = stages_now(self.place)
        self.console.print(render(watched, self.console))
        self.ended = True
        self._write(watched)

    def run(self, sleep: Callable[[float], None]) -> None:
        """Show until interrupted."""
        if not self.console.is_terminal:
            self._run_in_lines(sleep)
            return
        from rich.live import Live

        with Live(console=self.console, auto_refresh=False, transient=False) as live:
            while True:
                watched = stages_now(self.place)
                live.update(render(watched, self.console), refresh=True)
                self._write(watched)
                sleep(self.seconds)

    def _run_in_lines(self, sleep: Callable[[float], None]) -> None:
        before: Watched | None = None
        while True:
            watched = stages_now(self.place)
            for line in news(before, watched):
                typer.echo(line)
            before = watched
            self._write(watched)
            sleep(self.seconds)

    def end(self) -> None:
        """Leave a page that no longer loads itself again."""
        self.ended = True
        self._write(stages_now(self.place))
        typer.echo("watch: ended")

    def html(self, watched: Watched | None = None) -> str:
        """The page of the moment."""
        title = f"{self.place.params.report.title}: progress"
        refresh = None if self.ended else max(1.0, self.seconds)
        return render_watch(watched or stages_now(self.place), title, refresh)

    def _write(self, watched: Watched) -> None:
        if self.page is not None:
            write_text(self.page, self.html(watched))
