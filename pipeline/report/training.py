"""The curves of a classifier, and whether it is the one that is used."""

from dataclasses import dataclass

from pipeline.report.charts import Band, Chart, make_chart, phase_bands
from pipeline.report.html import percent
from pipeline.report.results import TRAINERS, RunResults


@dataclass(frozen=True)
class Training:
    """Curves of one classifier. best: the place of the epoch whose weights were kept, in percent; None if unknown.

    remark: if these are not the curves of the classifier that is used; else empty.
    """

    name: str
    remark: str
    charts: tuple[Chart, ...]
    bands: tuple[Band, ...]
    best_epoch: int
    best: float | None


def make_training(results: RunResults, stage: str) -> Training:
    """Of a stage that has curves."""
    curves = results.curves(stage)
    augmented = {name: name.replace("val_accuracy_", "val ") for name in curves[0] if name.startswith("val_accuracy_")}
    accuracy = {"train_accuracy": "train", "val_accuracy": "val", **augmented}
    charts = (
        make_chart("Accuracy", curves, accuracy, percent=True),
        make_chart("Loss", curves, {"train_loss": "train", "val_loss": "val"}, percent=False),
        make_chart("Learning rate", curves, {"lr": "lr"}, percent=False),
    )
    epoch = results.best_epoch(stage)
    best = 100 * (epoch - 0.5) / len(curves) if epoch else None
    drawn = tuple(chart for chart in charts if chart is not None)
    return Training(TRAINERS[stage], _remark(results, stage), drawn, phase_bands(curves), epoch, best)


def _remark(results: RunResults, stage: str) -> str:
    metrics = results.json(f"{stage}/metrics.json")
    if metrics.get("head") == "linear":
        scores = [percent(metrics.get(f"{kind}_accuracy")) for kind in ("linear", "trained")]
        against = f"({scores[0]} right against {scores[1]}; a trained one must be clearly better)"
        reason = f" by {metrics['chosen_by']} {against}" if "chosen_by" in metrics else ""
        return (
            "These are the curves of a trained head that was not chosen. "
            f"The head of this run is linear and was solved without epochs; it was preferred{reason}."
        )
    return "" if stage == results.used else f"This {TRAINERS[stage]} is not the classifier that is used."
