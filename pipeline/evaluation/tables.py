"""Scores as the plain CSV and JSON that DVC and spreadsheets read."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import astuple, replace
from typing import Any

from pipeline.evaluation.evaluate import Evaluation
from pipeline.evaluation.source_files import SourceFiles
from pipeline.metrics.calibration import Bin, calibration_error, error_by_chance, reheated, reliability
from pipeline.metrics.csv_text import DIGITS, rows_csv, to_csv
from pipeline.metrics.near_duplicates import NearDuplicate
from pipeline.metrics.predictions import Predictions, to_npz
from pipeline.metrics.scores import (
    PredictedImage,
    Scores,
    confident_mistakes,
    confused_pairs,
    predicted_image,
    size_correlation,
)

Figures = Mapping[str, Mapping[str, float]]  # by group and name


def evaluation_files(
    evaluation: Evaluation, most: int, sources: SourceFiles, extra: Mapping[str, Any]
) -> dict[str, bytes]:
    """Contents by file name. most: how many confused pairs and mistakes are listed. extra: more groups of metrics."""
    clean = evaluation.clean
    scores = evaluation.scores["test"]
    metrics = {"calibration": _calibration(evaluation.temperature, clean), **extra}
    correlation = size_correlation(scores[0], evaluation.class_sizes) if scores and evaluation.class_sizes else None
    if correlation is not None:
        metrics["imbalance"] = {"f1_size_correlation": correlation}
    images = [image for predictions in clean for image in predicted_images(predictions, sources)]
    texts = {
        "metrics.json": metrics_json(evaluation.scores, metrics),
        "predictions.csv": rows_csv(PredictedImage, images),
        **error_tables(scores[: len(clean)], clean, most, sources),
        **per_class_csv(scores, evaluation.class_sizes),
    }
    arrays = {
        f"predictions-{predictions.variant}.npz": to_npz(predictions) for predictions in evaluation.predictions["test"]
    }
    return arrays | {name: text.encode() for name, text in texts.items()}


def metrics_json(groups: Mapping[str, Sequence[Scores]], extra: Mapping[str, Any]) -> str:
    """`{group: {variant, attack or corruption: {"top1": ..., "top1_low": ..., ...}}, ...}`; the names never change.

    extra: more figures by group, such as those of calibration.
    """
    figures = {name: {scores.variant: figures_of(scores) for scores in group} for name, group in groups.items()}
    return json.dumps({**figures, **_rounded(extra)}, indent=2) + "\n"


def _rounded(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _rounded(inner) for name, inner in value.items()}
    return round(value, DIGITS) if isinstance(value, float) else value


def figures_of(scores: Scores) -> dict[str, float]:
    """Top-1, top-5 and macro F1 with their intervals, calibration error, and number of images."""
    figures: dict[str, float] = {}
    for name in ("top1", "top5", "macro_f1"):
        interval = getattr(scores, name)
        for suffix, value in (("", interval.value), ("_low", interval.low), ("_high", interval.high)):
            figures[name + suffix] = round(value, DIGITS)
    return {**figures, "ece": round(scores.ece, DIGITS), "n": scores.n}


def summary(evaluations: Mapping[str, Evaluation]) -> str:
    """One line. evaluations: by stage, the classifier that is used first.

    Accuracy of that one on test, on its worst variant, under the worst attack and the worst corruption; and accuracy
    of the other one.
    """
    (stage, used), *others = evaluations.items()
    if not used.scores["test"]:
        return "no test split (prepare.test is none), so there is nothing to evaluate"
    clean = used.scores["test"][0]
    line = f"{f'{stage}, ' if others else ''}top-1 {clean.top1.percent()} on {clean.n:,} test images"
    for what, name in (("worst variant", "test"), ("worst attack", "attacked"), ("worst corruption", "corrupted")):
        if len(used.scores[name]) > 1:
            worst = min(used.scores[name][1:], key=lambda scores: scores.top1.value)
            line += f", {what} {worst.variant} {100 * worst.top1.value:.1f} %"
    for other_stage, other in others:
        line += f"; {other_stage}, top-1 {other.scores['test'][0].top1.percent()}"
    return line


def per_class_csv(scores_by_variant: Sequence[Scores], sizes: Sequence[int]) -> dict[str, str]:
    """One row per variant and class, by file name. sizes: training images of each class, empty if unknown."""
    trained: Sequence[object] = sizes or [""] * max((len(scores.per_class) for scores in scores_by_variant), default=0)
    rows = [
        (scores.variant, *astuple(class_scores), size)
        for scores in scores_by_variant
        for class_scores, size in zip(scores.per_class, trained, strict=True)
    ]
    header = ("variant", "class", "support", "precision", "recall", "f1", "taken_for", "share", "train")
    return {"per_class.csv": to_csv(header, rows)}


def error_tables(
    scores_by_variant: Sequence[Scores], predictions: Sequence[Predictions], most: int, sources: SourceFiles
) -> dict[str, str]:
    """CSV texts by file name: every image (as DVC's confusion template takes it), confused pairs, mistakes and bins.

    Of the variants given, or headers alone if there are none; at most `most` pairs and mistakes per variant.
    """
    actual_predicted = [
        (rows.classes[actual], rows.classes[predicted])
        for rows in predictions
        for actual, predicted in zip(rows.labels, rows.predicted, strict=True)
    ]
    confused = [astuple(pair) for scores in scores_by_variant for pair in confused_pairs(scores, most)]
    mistakes = [_with_file(image, sources) for rows in predictions for image in confident_mistakes(rows, most)]
    return {
        "confusion.csv": to_csv(("actual", "predicted"), actual_predicted),
        "confused.csv": to_csv(("actual", "predicted", "count", "share"), confused),
        "mistakes.csv": rows_csv(PredictedImage, mistakes),
        "calibration.csv": rows_csv(Bin, [entry for rows in predictions for entry in reliability(rows)]),
    }


def predicted_images(predictions: Predictions, sources: SourceFiles) -> list[PredictedImage]:
    """Every image of test, in order."""
    return [_with_file(predicted_image(predictions, row), sources) for row in range(len(predictions))]


def _with_file(image: PredictedImage, sources: SourceFiles) -> PredictedImage:
    return replace(image, path=sources.path("test", image.row, image.id))


def near_duplicates_csv(leaks: Sequence[NearDuplicate], sources: SourceFiles) -> str:
    """The held-out image and its training image in each row, with their files."""
    rows = [
        replace(
            leak,
            path=sources.path(leak.split, leak.row, leak.id),
            train_path=sources.path("train", leak.train_row, leak.train_id),
        )
        for leak in leaks
    ]
    return rows_csv(NearDuplicate, rows)


def _calibration(temperature: float, clean: Sequence[Predictions]) -> dict[str, float]:
    """Calibration error of the clean test images, by chance alone, and without the temperature that val gave."""
    figures = {"temperature": temperature}
    for predictions in clean:
        figures["ece"] = calibration_error(predictions)
        figures["ece_by_chance"] = error_by_chance(predictions)
        figures["ece_without"] = calibration_error(reheated(predictions, 1 / temperature))
    return figures
