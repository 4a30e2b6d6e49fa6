"""What choosing a head and a sweep found, as CSV, JSON and a plot."""

import io
import json
from collections.abc import Sequence

from pipeline.heads.halving import Trial
from pipeline.heads.search import SearchResult
from pipeline.heads.spec import HeadSpec
from pipeline.metrics.csv_text import DIGITS, to_csv
from pipeline.metrics.intervals import Spread


def describe(spec: HeadSpec) -> dict[str, object]:
    """A head's own values by the names of params.yaml."""
    return {
        "hidden": "x".join(map(str, spec.hidden)) or "linear",
        "lr": spec.lr,
        "weight_decay": spec.weight_decay,
        "dropout": spec.dropout,
        "label_smoothing": spec.label_smoothing,
        "mixup": spec.mixup,
        "seed": spec.seed,
    }


def heads_csv(heads: Sequence[Trial]) -> str:
    """Every head of the grid, the best first."""
    ranked = sorted(heads, key=lambda trial: trial.rank, reverse=True)
    figures = ("val_accuracy", "val_loss", "best_epoch", "epochs")
    rows = [[*describe(trial.spec).values(), *(getattr(trial, name) for name in figures)] for trial in ranked]
    return to_csv([*describe(ranked[0].spec), *figures], rows)


def sweep_metrics(result: SearchResult) -> str:
    """Names that stay: best, val, test, folds; shares, not percent."""
    spreads = {"val": result.val, "test": result.test, "folds": result.folds}
    figures = {name: _figures(shown) for name, shown in spreads.items() if shown is not None}
    gains = {gain.variant: _figures(gain.gain) for gain in result.gains}
    return json.dumps({"best": describe(result.best), **figures, "variants": gains}, indent=2) + "\n"


def _figures(shown: Spread) -> dict[str, float]:
    return {"mean": round(shown.mean, DIGITS), "deviation": round(shown.deviation, DIGITS), "count": shown.count}


def draw(heads: Sequence[Trial]) -> bytes:
    """A PNG: val accuracy of each head over its learning rate, one colour per shape."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), dpi=120, layout="constrained")
    axes = figure.subplots()
    for shape in sorted({trial.spec.hidden for trial in heads}):
        chosen = [trial for trial in heads if trial.spec.hidden == shape]
        label = "x".join(map(str, shape)) or "linear"
        rates = [trial.spec.lr for trial in chosen]
        accuracies = [100 * trial.val_accuracy for trial in chosen]
        axes.scatter(rates, accuracies, label=label, alpha=0.6)
    axes.set(xscale="log", xlabel="learning rate", ylabel="best val accuracy, %", title=f"{len(heads)} heads")
    axes.grid(alpha=0.3)
    axes.legend(title="hidden")
    target = io.BytesIO()
    figure.savefig(target, format="png", metadata={"Software": None})
    return target.getvalue()
