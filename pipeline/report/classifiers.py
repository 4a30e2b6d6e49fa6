"""The head and the full model side by side: accuracy on everything, and what a minute of training gained."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cache.records import UNAUGMENTED
from pipeline.config.shared.stages import EVALUATE, TRAIN_HEAD, TRAIN_MODEL
from pipeline.report.charts import number
from pipeline.report.results import TRAINERS, Row, RunResults

TITLES = {"test": "test, by variant", "attacked": "attacked", "corrupted": "corrupted"}


@dataclass(frozen=True)
class TrainingCost:
    """A classifier: accuracies as shares, minutes of training, and points of top-1 over guessing per minute.

    Anything unknown is None. A stage that trained several seeds is counted for one of them.
    """

    name: str
    used: bool
    val: float | None
    test: float | None
    minutes: float | None
    points_per_minute: float | None


@dataclass(frozen=True)
class ClassifierComparison:
    """groups: rows of classifiers.csv by title. gain: by how much the model's top-1 on test exceeds the head's.

    gain_per_minute: points per minute of the model's training; None if the time is unknown.
    """

    costs: tuple[TrainingCost, ...]
    groups: tuple[tuple[str, Sequence[Row]], ...]
    gain: float
    gain_per_minute: float | None


def compare_classifiers(results: RunResults) -> ClassifierComparison | None:
    """None unless both were evaluated on test."""
    rows = results.table(f"{EVALUATE}/classifiers.csv")
    clean = next((row for row in rows if (row["group"], row["name"]) == ("test", UNAUGMENTED)), None)
    if clean is None:
        return None
    groups = [(title, [row for row in rows if row["group"] == group]) for group, title in TITLES.items()]
    costs = {stage: _training_cost(results, stage) for stage in (TRAIN_HEAD, TRAIN_MODEL)}
    gain = float(clean["change"])
    minutes = costs[TRAIN_MODEL].minutes
    return ClassifierComparison(
        costs=tuple(costs.values()),
        groups=tuple((title, group) for title, group in groups if group),
        gain=gain,
        gain_per_minute=100 * gain / minutes if minutes else None,
    )


def _training_cost(results: RunResults, stage: str) -> TrainingCost:
    figures = results.group("classifiers").get(stage, {})
    minutes = training_minutes(results.runs.get(stage, {}))
    test = figures.get("top1")
    classes = len({row["class"] for row in results.table(f"{EVALUATE}/per_class.csv")})
    rate = 100 * (test - 1 / classes) / minutes if test is not None and minutes and classes else None
    name = f"{TRAINERS[stage]} ({stage})"
    return TrainingCost(name, stage == results.used, figures.get("val_accuracy"), test, minutes, rate)


def training_minutes(run: Mapping[str, Any]) -> float | None:
    """Of the record of a stage, per seed; None if it says nothing."""
    seconds = number(run.get("seconds"))
    params = run.get("params", {})
    seeds = params.get("seeds", 1) if isinstance(params, Mapping) else 1
    return None if seconds is None else seconds / 60 / max(1, int(seeds))
