"""Watch on a terminal: a table of stages, a bar for what runs, and curves as lines of small blocks."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pipeline.report.watch_page import Watched, WatchedStage, duration, shown_name, time_left

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

NARROW = 60  # columns, below which what a stage says is left out
BLOCKS = "▁▂▃▄▅▆▇█"
ASCII = "_.-=+*#@"
POINTS = 40  # of a curve at most
COLOURS = {"running": "bold cyan", "up to date": "green", "failed": "red", "killed": "red", "interrupted": "yellow"}


def render(watched: Watched, console: "Console") -> "RenderableType":
    """What fills the terminal."""
    from rich.console import Group
    from rich.text import Text

    parts: list[RenderableType] = [_table(watched, console.width)]
    for stage in watched.stages:
        if stage.state == "running":
            parts += [Text(""), *_running(stage, console)]
    parts += [Text(""), Text(watched.summary)]
    return Group(*parts)


def _table(watched: Watched, width: int) -> "RenderableType":
    """A row per stage. width: columns of the terminal; what a stage says is cut to it, or left out of a narrow one."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in ("stage", "state", "time left"):
        table.add_column(name, justify="right" if name == "time left" else "left", no_wrap=True)
    rows = [(stage.name, stage.state, time_left(stage)) for stage in watched.stages]
    used = sum(max(map(len, column)) + 2 for column in zip(("stage", "state", "time left"), *rows, strict=True))
    if width >= NARROW:
        table.add_column("", no_wrap=True)
    for stage, (name, state, left) in zip(watched.stages, rows, strict=True):
        said = Text(stage.text or stage.step)
        said.truncate(width - used, overflow="ellipsis")
        table.add_row(name, Text(state, COLOURS.get(state, "dim")), left, *([said] if width >= NARROW else []))
    return table


def _running(stage: WatchedStage, console: "Console") -> "list[RenderableType]":
    """What is counted, a bar, and the curves so far."""
    from rich.text import Text

    share = "" if stage.share is None else f"  {stage.share:.0%}"
    parts: list[RenderableType] = [Text(f"{stage.name}  {stage.step}{share}  for {duration(stage.seconds or 0)}")]
    if stage.share is not None:
        width = min(console.width, NARROW)
        full = round(width * stage.share)
        done, rest = ("#", ".") if console.options.ascii_only else ("━", "─")
        parts.append(Text(done * full, COLOURS["running"]) + Text(rest * (width - full), "dim"))
    blocks = ASCII if console.options.ascii_only else BLOCKS
    return [*parts, *(Text(line) for line in curve_lines(stage.curves, console.width, blocks))]


def curve_lines(curves: Sequence[Mapping[str, Any]], width: int, blocks: str = BLOCKS) -> list[str]:
    """A line per accuracy and loss: its name, its course, its first and last value. width: characters of a line."""
    columns = list(dict.fromkeys(name for row in curves for name in row if "_accuracy" in name or "_loss" in name))
    lines = []
    for name in columns:
        values = [float(row[name]) for row in curves if name in row]
        kind = "accuracy" if "_accuracy" in name else "loss"
        first, last = (f"{value:.1%}" if kind == "accuracy" else f"{value:.3g}" for value in (values[0], values[-1]))
        head = f"{kind:<9}{shown_name(name):<9}"
        tail = f" {first} to {last}" if len(values) > 1 else f" {last}"
        lines.append(f"{head}{sparkline(values, min(POINTS, width - len(head) - len(tail)), blocks)}{tail}"[:width])
    return lines


def sparkline(values: Sequence[float], width: int, blocks: str = BLOCKS) -> str:
    """Values as blocks of a height each, from the lowest to the highest; of too many, some at equal distances."""
    finite = [value for value in values if math.isfinite(value)]
    if width < 1 or not finite:
        return ""
    low = min(finite)
    span = max(finite) - low or 1.0
    count = min(width, len(values))
    chosen = [values[round(number * (len(values) - 1) / max(1, count - 1))] for number in range(count)]
    top = len(blocks) - 1
    return "".join(blocks[round((value - low) / span * top)] if math.isfinite(value) else " " for value in chosen)


def news(before: Watched | None, now: Watched) -> list[str]:
    """Lines about what has changed, if there is no terminal to draw on: states, steps, and tenths of a step."""
    old = {} if before is None else {stage.name: _coarse(stage) for stage in before.stages}
    return [f"watch: {now.time} {_said(stage)}" for stage in now.stages if old.get(stage.name) != _coarse(stage)]


def _coarse(stage: WatchedStage) -> tuple[str, str, int]:
    return stage.state, stage.step.partition(":")[0], int(10 * (stage.share or 0))


def _said(stage: WatchedStage) -> str:
    left = f", {time_left(stage)} left" if stage.left and stage.state == "running" else ""
    what = stage.step or stage.text
    return f"{stage.name} {stage.state}{': ' if what else ''}{what}{left}"
