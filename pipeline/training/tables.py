"""What the training of a full model came to, in figures and in one line."""

from collections.abc import Mapping, Sequence

from pipeline.metrics.intervals import Spread, spread
from pipeline.training.fit import ModelFit


def model_metrics(first: ModelFit, kept: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Of the first seed's network, and mean and deviation over seeds. kept: the val figures of each seed."""
    metrics = {"best_epoch": first.best_epoch, "lr": first.recipe.peak_lr, "parameters": first.parameters, **first.kept}
    over = _over_seeds(kept)
    return metrics | ({"val_accuracy_mean": over.mean, "val_accuracy_std": over.deviation} if over else {})


def model_summary(name: str, rates: Sequence[float], first: ModelFit, kept: Sequence[Mapping[str, float]]) -> str:
    """Such as `plain, 77,706 parameters: val accuracy 92.2% after epoch 3`. rates: from which the recipe may choose."""
    accuracy = f"val accuracy {first.kept['val_accuracy']:.1%}" if first.kept else "no validation set"
    over = _over_seeds(kept)
    seeds = f", {over.percent()} over {over.count} seeds" if over else ""
    rate = first.recipe.peak_lr
    higher = [f"{other:g}" for other in sorted(rates, reverse=True) if other > rate]
    too_high = f", as {' and '.join(higher)} {'was' if len(higher) == 1 else 'were'} too high" if higher else ""
    chosen = f", lr {rate:g}{too_high}" if len(rates) > 1 else ""
    return f"{name}, {first.parameters:,} parameters{chosen}: {accuracy} after epoch {first.best_epoch}{seeds}"


def _over_seeds(kept: Sequence[Mapping[str, float]]) -> Spread | None:
    accuracies = [figures["val_accuracy"] for figures in kept if figures]
    return spread(accuracies) if len(accuracies) > 1 else None
