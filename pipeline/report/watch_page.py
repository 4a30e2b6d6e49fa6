"""What `python -m stages.watch` shows, and its page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipeline.report.charts import Chart, make_chart
from pipeline.report.html import render_page

TEMPLATE = "watch.html.jinja"
KINDS = (("Accuracy", "accuracy", True), ("Loss", "loss", False))  # title, how columns are called, whether in percent


@dataclass(frozen=True)
class WatchedStage:
    """A stage as it is shown.

    state: `up to date`, `running`, `waits`, `killed`, `failed`, `interrupted` or `off`. text: why, or what it made.
    step: what is counted now, such as `decode 120 of 1,797 images`. share: of that, 0 to 1, None if unknown.
    seconds: that it has run. left: seconds that it will still take, None if unknown.
    curves: a row per epoch, while it trains.
    """

    name: str
    state: str
    text: str = ""
    step: str = ""
    share: float | None = None
    seconds: float | None = None
    left: float | None = 0.0
    curves: Sequence[Mapping[str, Any]] = field(default=())


@dataclass(frozen=True)
class Watched:
    """All stages at one moment. time: as it is shown."""

    stages: tuple[WatchedStage, ...]
    time: str

    @property
    def left(self) -> float:
        """Seconds that all stages will still take, as far as that is known."""
        return sum(stage.left or 0.0 for stage in self.stages)

    @property
    def unknown(self) -> list[str]:
        """Stages whose time is not known."""
        return [stage.name for stage in self.stages if stage.left is None]

    @property
    def is_running(self) -> bool:
        """Whether any stage runs."""
        return any(stage.state == "running" for stage in self.stages)

    @property
    def summary(self) -> str:
        """Such as `about 4 min left, and train_head, whose time is unknown`."""
        if not self.unknown and not self.left:
            return "nothing left to do"
        known = f"about {duration(self.left)}" if self.left else ""
        names = self.unknown if len(self.unknown) < 4 else [f"{len(self.unknown)} stages"]
        unknown = f"unknown for {', '.join(names)}" if names else ""
        left = ", ".join(part for part in (known, unknown) if part)
        return f"time left: {left}" if self.is_running else f"nothing runs; still to do: {left}"


def duration(seconds: float) -> str:
    """Such as `45 s`, `4 min 10 s` or `3 h 20 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    hours, minutes = divmod(whole // 60, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {whole % 60} s" if minutes < 10 else f"{minutes} min"


def time_left(stage: WatchedStage) -> str:
    """In words; empty if it has nothing to do."""
    if stage.left is None:
        return "unknown"
    return duration(stage.left) if stage.left else ""


def charts_of(curves: Sequence[Mapping[str, Any]]) -> list[Chart]:
    """Accuracies and losses by epoch."""
    rows = [{name: str(value) for name, value in row.items()} for row in curves]
    charts = []
    for title, word, percent in KINDS:
        columns = {name: shown_name(name) for row in curves for name in row if f"_{word}" in name}
        charts.append(make_chart(title, rows, columns, percent))
    return [chart for chart in charts if chart is not None]


def shown_name(column: str) -> str:
    """`val_accuracy_mild_1` as `val mild_1`."""
    split, _, rest = column.partition("_")
    _, _, variant = rest.partition("_")
    return f"{split} {variant}".strip()


def render_watch(watched: Watched, title: str, refresh: float | None) -> str:
    """One self-contained page. refresh: seconds after which it loads itself again; None if it will not change."""
    running = [stage for stage in watched.stages if stage.state == "running"]
    trained = [(stage, charts_of(stage.curves)) for stage in watched.stages if stage.curves]
    values = {
        "watched": watched,
        "running": running,
        "trained": trained,
        "refresh": refresh,
        "duration": duration,
        "time_left": time_left,
    }
    return render_page(TEMPLATE, title, values)
