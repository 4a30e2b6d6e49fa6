"""What a sweep found, as CSV, JSON and a picture."""

import io
import json
from collections.abc import Sequence

from pipeline.heads.halving import Trial
from pipeline.heads.search import SearchResult
from pipeline.heads.stack import HeadSpec
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
    ranked = sorted(heads, key=lambda one: one.rank, reverse=True)
    figures = ("val_accuracy", "val_loss", "best_epoch", "epochs")
    rows = [[*describe(one.spec).values(), *(getattr(one, name) for name in figures)] for one in ranked]
    return to_csv([*describe(ranked[0].spec), *figures], rows)


def sweep_metrics(found: SearchResult) -> str:
    """Names that stay: best, val, test, folds; shares, not percent."""
    spreads = {"val": found.val, "test": found.test, "folds": found.folds}
    figures = {name: _figures(one) for name, one in spreads.items() if one is not None}
    gains = {one.variant: _figures(one.gain) for one in found.worth}
    return json.dumps({"best": describe(found.best), **figures, "variants": gains}, indent=2) + "\n"


def _figures(one: Spread) -> dict[str, float]:
    return {"mean": round(one.mean, DIGITS), "deviation": round(one.deviation, DIGITS), "count": one.count}


def draw(heads: Sequence[Trial]) -> bytes:
    """A PNG: val accuracy of each head over its learning rate, a colour for each shape."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), dpi=120, layout="constrained")
    axes = figure.subplots()
    for shape in sorted({one.spec.hidden for one in heads}):
        chosen = [one for one in heads if one.spec.hidden == shape]
        label = "x".join(map(str, shape)) or "linear"
        axes.scatter(
            [one.spec.lr for one in chosen], [100 * one.val_accuracy for one in chosen], label=label, alpha=0.6
        )
    axes.set(xscale="log", xlabel="learning rate", ylabel="best val accuracy, %", title=f"{len(heads)} heads")
    axes.grid(alpha=0.3)
    axes.legend(title="hidden")
    target = io.BytesIO()
    figure.savefig(target, format="png", metadata={"Software": None})
    return target.getvalue()
