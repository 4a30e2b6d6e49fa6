"""Files about all classifiers together, and all that is written for the one that is used."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cache.records import UNAUGMENTED
from pipeline.config.evaluate import EvaluateConfig
from pipeline.config.shared.stages import GAN
from pipeline.evaluation.evaluate import Evaluation, FeaturesOf, gan_quality
from pipeline.evaluation.side_by_side import SideBySide
from pipeline.evaluation.source_files import SourceFiles
from pipeline.evaluation.tables import evaluation_files, figures_of, near_duplicates_csv
from pipeline.heads.ablation import VariantGain, variant_gains_csv
from pipeline.metrics.csv_text import rows_csv
from pipeline.metrics.intervals import accuracy_interval
from pipeline.metrics.near_duplicates import NearDuplicate


@dataclass(frozen=True)
class Overview:
    """What evaluate knows of a run.

    evaluations: by the stage that trained the classifier; the first is used by predict and export. trained: metrics of
    each of those stages. side_by_side: empty if only one is trained. leaks: near duplicates across the split. gains:
    what each variant gains the head. features: the cached ones.
    """

    evaluations: Mapping[str, Evaluation]
    trained: Mapping[str, Mapping[str, Any]]
    side_by_side: Sequence[SideBySide]
    leaks: Sequence[NearDuplicate]
    gains: Sequence[VariantGain]
    features: FeaturesOf


def overview_files(overview: Overview, config: EvaluateConfig, sources: SourceFiles) -> dict[str, bytes]:
    """Contents by file name: metrics and tables of the classifier that is used, and what concerns all of them."""
    chosen = next(iter(overview.evaluations))
    evaluation = overview.evaluations[chosen]
    metrics: dict[str, Any] = {"classifiers": _classifier_metrics(overview, config.confidence)}
    views = {stage: ",".join(rows.views) for stage, rows in overview.evaluations.items() if rows.views}
    if views:
        metrics["views"] = views
    quality = gan_quality(overview.features, config.near_duplicate)
    if quality:
        metrics[GAN] = quality
    texts = {
        "near_duplicates.csv": near_duplicates_csv(overview.leaks, sources),
        "variants.csv": variant_gains_csv(overview.gains, evaluation.classes),
        "classifiers.csv": rows_csv(SideBySide, overview.side_by_side),
    }
    files = evaluation_files(evaluation, config.worst, sources, metrics)
    return files | {name: text.encode() for name, text in texts.items()}


def _classifier_metrics(overview: Overview, confidence: float) -> dict[str, dict[str, float]]:
    """By stage: whether its classifier is used, accuracy on val if it is known, and scores on clean test images."""
    metrics: dict[str, dict[str, float]] = {}
    for number, (stage, evaluation) in enumerate(overview.evaluations.items()):
        val = overview.trained.get(stage, {}).get("val_accuracy")
        clean = evaluation.scores["test"][:1]
        metrics[stage] = {"used": int(number == 0)}
        metrics[stage] |= {} if val is None else _on_val(val, overview.features, confidence)
        metrics[stage] |= figures_of(clean[0]) if clean else {}
    return metrics


def _on_val(accuracy: float, features: FeaturesOf, confidence: float) -> dict[str, float]:
    """The accuracy on val and its interval, as one on test has: val is often so small that both differ by chance."""
    count = len(features.get("val", {}).get(UNAUGMENTED, ()))
    if not count:
        return {"val_accuracy": accuracy}
    interval = accuracy_interval(round(accuracy * count), count, confidence)
    return {"val_accuracy": accuracy, "val_accuracy_low": interval.low, "val_accuracy_high": interval.high}
