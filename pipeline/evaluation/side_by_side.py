"""The head and the full model on the same test images."""

from collections.abc import Iterator
from dataclasses import dataclass

from pipeline.evaluation.evaluate import Evaluation
from pipeline.metrics.intervals import paired_interval


@dataclass(frozen=True)
class SideBySide:
    """Top-1 of both on one variant, attack or corruption of the same n images.

    group: `test`, `attacked` or `corrupted`. change: the model's minus the head's, with its paired interval.
    """

    group: str
    name: str
    n: int
    head: float
    model: float
    change: float
    change_low: float
    change_high: float


def side_by_side(head: Evaluation, model: Evaluation, confidence: float) -> list[SideBySide]:
    """A row for everything that both were evaluated on. Raises RecordError if the images differ."""
    return list(_rows(head, model, confidence))


def _rows(head: Evaluation, model: Evaluation, confidence: float) -> Iterator[SideBySide]:
    for group, predictions in head.predictions.items():
        others = {other.variant: other for other in model.predictions[group]}
        for before in predictions:
            after = others.get(before.variant)
            if after is None:
                continue
            change = paired_interval([after], [before], confidence)
            yield SideBySide(
                group=group,
                name=before.variant,
                n=len(before),
                head=float(before.correct.mean()),
                model=float(after.correct.mean()),
                change=change.value,
                change_low=change.low,
                change_high=change.high,
            )
