"""Whether more photos would help: the learning curve as a chart, and in words."""

from collections.abc import Sequence

import numpy as np

from pipeline.config.shared.stages import EVALUATE
from pipeline.report.charts import Chart, Line, Tick, number, ticks
from pipeline.report.results import Row, RunResults

ERRORS = 2  # standard errors by which a gain must differ from nothing to be taken for one
WORTH = 0.01  # a gain in accuracy that is worth taking twice the photos
NAMED = 3  # classes


def learning_chart(results: RunResults) -> Chart | None:
    """Accuracy against images per class, on a logarithmic axis; None with fewer than two points."""
    rows = results.table(f"{EVALUATE}/learning_curve.csv")
    points = [(number(row["images_per_class"]), number(row["accuracy"])) for row in rows]
    known = [(count, accuracy) for count, accuracy in points if count and accuracy is not None]
    if len(known) < 2:
        return None
    axis = ticks(min(accuracy for _, accuracy in known), max(accuracy for _, accuracy in known))
    places = np.linspace(8, 92, len(known)).tolist()  # every point has twice the images of the one before
    span = axis[-1] - axis[0]
    heights = [100 * (axis[-1] - accuracy) / span for _, accuracy in known]
    path = " ".join(f"{'L' if n else 'M'}{x:.2f} {y:.2f}" for n, (x, y) in enumerate(zip(places, heights, strict=True)))
    ticks_x = tuple(Tick(f"{count:,.0f}", place) for (count, _), place in zip(known, places, strict=True))
    ticks_y = tuple(Tick(f"{100 * value:g} %", 100 * (value - axis[0]) / span) for value in axis)
    line = Line("accuracy on unseen images", path, f"{100 * known[-1][1]:.1f} %")
    return Chart("Accuracy by images per class", (line,), (), ticks_x, ticks_y)


def advice(results: RunResults) -> str:
    """Whether more photos would help, and of which classes, in words; empty if it is not known.

    A gain counts if it exceeds `ERRORS` times its standard error.
    """
    rows = results.table(f"{EVALUATE}/learning_curve.csv")
    if len(rows) < 2:
        return ""
    gain = number(rows[-1].get("gain"))
    error = number(rows[-1].get("error"))
    if gain is None or error is None:
        return ""
    brought = f"The last doubling of images per class brought {100 * gain:+.1f} ± {100 * error:.1f} points"
    named = _gaining(results.table(f"{EVALUATE}/learning_classes.csv"))
    return f"{brought}{_verdict(gain, ERRORS * error)} {named}".rstrip()


def _verdict(gain: float, doubt: float) -> str:
    if gain + doubt < WORTH or (gain > doubt and gain < WORTH):
        return ": more photos of this kind help little."
    if gain > doubt:
        return ", so more photos should help."
    return ", which chance alone may bring: these photos cannot tell whether more would help."


def _gaining(classes: Sequence[Row]) -> str:
    """The classes that gained most, as far as that is more than chance."""
    names = [row["name"] for row in classes if is_sure(row)][:NAMED]
    if names:
        return f"Most was gained by {', '.join(names)}."
    return "No single class gained more than chance may bring." if classes else ""


def is_sure(row: Row) -> bool:
    """Whether the gain of a row of learning_classes.csv exceeds `ERRORS` times its standard error."""
    gain = number(row.get("gain"))
    error = number(row.get("error"))
    return gain is not None and error is not None and gain > ERRORS * error
