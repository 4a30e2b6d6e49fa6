"""What the training of a full model came to, in figures and in one line."""

from collections.abc import Mapping, Sequence

from pipeline.metrics.intervals import Spread, spread
from pipeline.training.fit import ModelFit


def model_metrics(first: ModelFit, kept: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Of the first seed's network, and mean and deviation over seeds. kept: the val figures of each seed."""
    metrics = {"best_epoch": first.best_epoch, "lr": first.recipe.lr, "parameters": first.parameters, **first.kept}
    over = _over_seeds(kept)
    return metrics | ({"val_accuracy_mean": over.mean, "val_accuracy_std": over.deviation} if over else {})


def model_summary(name: str, first: ModelFit, kept: Sequence[Mapping[str, float]]) -> str:
    """Such as `plain, 77,706 parameters: val accuracy 92.2% after epoch 3`."""
    accuracy = f"val accuracy {first.kept['val_accuracy']:.1%}" if first.kept else "no validation set"
    over = _over_seeds(kept)
    seeds = f", {over.percent()} over {over.count} seeds" if over else ""
    return f"{name}, {first.parameters:,} parameters: {accuracy} after epoch {first.best_epoch}{seeds}"


def _over_seeds(kept: Sequence[Mapping[str, float]]) -> Spread | None:
    accuracies = [figures["val_accuracy"] for figures in kept if figures]
    return spread(accuracies) if len(accuracies) > 1 else None
