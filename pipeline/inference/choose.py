"""Which of the trained classifiers is used."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cache.errors import DamagedFile
from pipeline.config.shared.stages import TRAIN_HEAD, TRAIN_MODEL
from pipeline.metrics.best_epoch import val_rank

BEST = "best"  # of evaluate.classifier: the one with the highest accuracy on val
CLASSIFIERS = (TRAIN_MODEL, TRAIN_HEAD)  # stages that train one; the first is preferred if val cannot tell


def choose_classifier(data: Path, wanted: str) -> str:
    """The stage whose classifier is evaluated first and used by predict and export.

    wanted: `evaluate.classifier`; `best` is the one with the higher accuracy on val, and among equals the one with the
    lower loss. Without any val split it is the full model if there is one.
    """
    if wanted != BEST:
        return wanted
    figures = trained_classifiers(data)
    return max(figures, key=lambda stage: _rank(figures[stage]), default=CLASSIFIERS[-1])


def trained_classifiers(data: Path) -> dict[str, dict[str, Any]]:
    """The metrics of each stage that has trained a classifier; a full model that is off has none."""
    figures = {stage: _metrics(data / stage) for stage in CLASSIFIERS}
    return {stage: metrics for stage, metrics in figures.items() if metrics is not None}


def _metrics(folder: Path) -> dict[str, Any] | None:
    if not (folder / "classifier.json").exists():
        return None
    path = folder / "metrics.json"
    try:
        metrics = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {"best_epoch": None}
    except ValueError as error:
        raise DamagedFile("not JSON", where=path, remedy=f"Run {folder.name} again.") from error
    return metrics or None  # train_model writes {} when it is off; the classifier is then one of an earlier run


def _rank(metrics: Mapping[str, Any]) -> tuple[float, float]:
    """Those of a training without a val split come before all others."""
    return val_rank(float(metrics.get("val_accuracy", -1)), float(metrics.get("val_loss", 0)))
