"""What the choice of a head came to, in figures and in one line."""

from collections.abc import Mapping

from cache.records import UNAUGMENTED, FeatureSet
from pipeline.heads.choose import Choice
from pipeline.networks.head import accuracy_and_loss


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
