"""What choosing a head and a sweep found, as CSV, JSON and a plot."""

import io
import json
from collections.abc import Mapping, Sequence

from cache.records import UNAUGMENTED, FeatureSet
from pipeline.heads.choose import Choice
from pipeline.heads.halving import Trial
from pipeline.heads.search import SearchResult
from pipeline.heads.spec import HeadSpec
from pipeline.metrics.csv_text import DIGITS, to_csv
from pipeline.metrics.intervals import Spread
from pipeline.networks.head import accuracy_and_loss


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


def choice_metrics(choice: Choice, val: Mapping[str, FeatureSet]) -> dict[str, object]:
    """The chosen head on val, the epoch that was kept (0: solved), and what decided."""
    fit = choice.fit
    metrics: dict[str, object] = {"best_epoch": fit.best_epoch, "head": _kind(choice)}
    if fit.best_epoch:
        best = fit.curves[fit.best_epoch - 1]
        names = ("val_accuracy", "val_loss", "train_accuracy", "train_loss")
        metrics |= {name: best[name] for name in names if name in best}
    elif UNAUGMENTED in val:
        accuracy, loss = accuracy_and_loss(fit.head, val[UNAUGMENTED].features[:], val[UNAUGMENTED].labels)
        metrics |= {"val_accuracy": accuracy, "val_loss": loss}
    if choice.evidence:
        metrics["chosen_by"] = choice.evidence
        metrics |= {f"{name}_accuracy": value for name, value in choice.accuracy.items()}
    return metrics


def choice_summary(choice: Choice, metrics: Mapping[str, object]) -> str:
    """Such as `val accuracy 92.2% by a linear head, chosen by 5-fold cross-validation`."""
    accuracy = f"val accuracy {metrics['val_accuracy']:.1%}" if "val_accuracy" in metrics else "no validation set"
    place = f" at epoch {choice.fit.best_epoch} of {len(choice.fit.curves)}" if choice.fit.best_epoch else ""
    chosen = f", a {_kind(choice)} head chosen by {choice.evidence}" if choice.evidence else ""
    return f"{accuracy}{place}{chosen}"


def _kind(choice: Choice) -> str:
    return "trained" if choice.fit.best_epoch else "linear"
