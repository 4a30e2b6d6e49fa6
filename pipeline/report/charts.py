"""Curves over epochs as geometry in percent of a plot's width and height, which the page's template draws."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

STEPS = (1, 2, 5, 10)
TICKS = 5
EPOCH_LABELS = 12  # more would touch each other


@dataclass(frozen=True)
class Line:
    """One curve: an SVG path in a box of 100 x 100, y downwards, and the last value as text."""

    name: str
    path: str
    last: str


@dataclass(frozen=True)
class Band:
    """A phase: neighbouring epochs on one variant, as a stripe of the plot."""

    name: str
    epochs: int
    left: float
    width: float


@dataclass(frozen=True)
class Tick:
    """A label on an axis at `position` percent from its start."""

    label: str
    position: float


@dataclass(frozen=True)
class Chart:
    """Curves over the same epochs."""

    title: str
    lines: tuple[Line, ...]
    bands: tuple[Band, ...]
    ticks_x: tuple[Tick, ...]
    ticks_y: tuple[Tick, ...]


def number(text: object) -> float | None:
    """The finite number that a table's cell holds, else None."""
    try:
        value = float(str(text))
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def ticks(low: float, high: float) -> list[float]:
    """About five round values (1, 2 or 5 times a power of ten) from at or below `low` to at or above `high`."""
    span = (high - low) or abs(high) or 1.0
    power = 10.0 ** math.floor(math.log10(span / TICKS))
    step = next(factor * power for factor in STEPS if factor * power * TICKS >= span * (1 - 1e-9))
    first = math.floor(low / step + 1e-9)
    last = max(math.ceil(high / step - 1e-9), first + 1)
    return [round(multiple * step, 12) for multiple in range(first, last + 1)]


def make_chart(
    title: str, epochs: Sequence[Mapping[str, str]], columns: Mapping[str, str], percent: bool
) -> Chart | None:
    """Draw columns of the rows of curves.csv; None if they hold no number.

    columns: from a column's name to the name shown. percent: values are shares.
    """
    points = {shown: _points(epochs, column) for column, shown in columns.items()}
    values = [value for line in points.values() for _, value in line]
    if not values:
        return None
    axis = ticks(min(values), max(values))
    span = axis[-1] - axis[0]
    lines = []
    for name, line in points.items():
        scaled = [(_middle(index, len(epochs)), 100 * (axis[-1] - value) / span) for index, value in line]
        if line:
            lines.append(Line(name, _path(scaled), _label(line[-1][1], percent)))
    ticks_y = tuple(Tick(_label(value, percent), 100 * (value - axis[0]) / span) for value in axis)
    return Chart(title, tuple(lines), phase_bands(epochs), _epoch_ticks(epochs), ticks_y)


def phase_bands(epochs: Sequence[Mapping[str, str]]) -> tuple[Band, ...]:
    """Neighbouring epochs on the same variant, joined."""
    bands = []
    start = 0
    for variant, group in groupby(epochs, key=lambda row: row.get("variant", "")):
        count = len(list(group))
        bands.append(Band(variant, count, 100 * start / len(epochs), 100 * count / len(epochs)))
        start += count
    return tuple(bands)


def _points(epochs: Sequence[Mapping[str, str]], column: str) -> list[tuple[int, float]]:
    """Index of the row and value, of the rows that have a number."""
    values = [number(row.get(column, "")) for row in epochs]
    return [(index, value) for index, value in enumerate(values) if value is not None]


def _middle(index: int, count: int) -> float:
    """Where an epoch's point lies, in percent of the width."""
    return 100 * (index + 0.5) / count


def _epoch_ticks(epochs: Sequence[Mapping[str, str]]) -> tuple[Tick, ...]:
    step = math.ceil(len(epochs) / EPOCH_LABELS)
    indices = range(step - 1, len(epochs), step)
    return tuple(Tick(epochs[index].get("epoch", ""), _middle(index, len(epochs))) for index in indices)


def _path(points: Sequence[tuple[float, float]]) -> str:
    """An SVG path; a single point becomes a dot by its round ends."""
    text = " ".join(f"{'L' if index else 'M'}{x:.2f} {y:.2f}" for index, (x, y) in enumerate(points))
    return text if len(points) > 1 else f"{text} h0"


def _label(value: float, percent: bool) -> str:
    return f"{round(100 * value, 1):g} %" if percent else f"{value:.3g}"
