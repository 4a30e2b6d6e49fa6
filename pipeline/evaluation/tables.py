"""Figures as the plain CSV and JSON that DVC and spreadsheets read."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import astuple
from typing import Any

from pipeline.metrics.calibration import Bin, reliability
from pipeline.metrics.csv_text import DIGITS, rows_csv, to_csv
from pipeline.metrics.predictions import Predictions
from pipeline.metrics.scores import Scores, confident_mistakes, confused_pairs


def metrics_json(groups: Mapping[str, Sequence[Scores]], extra: Mapping[str, Mapping[str, float]]) -> str:
    """`{group: {variant, attack or corruption: {"top1": ..., "top1_low": ..., ...}}, ...}`: names that stay.

    extra: plain figures by group, such as those of calibration.
    """
    figures = {name: {scores.variant: _figures(scores) for scores in group} for name, group in groups.items()}
    rounded = {group: {name: round(value, DIGITS) for name, value in row.items()} for group, row in extra.items()}
    return json.dumps({**figures, **rounded}, indent=2) + "\n"


def _figures(scores: Scores) -> dict[str, Any]:
    figures: dict[str, Any] = {}
    for name in ("top1", "top5", "macro_f1"):
        interval = getattr(scores, name)
        for suffix, value in (("", interval.value), ("_low", interval.low), ("_high", interval.high)):
            figures[name + suffix] = round(value, DIGITS)
    return {**figures, "ece": round(scores.ece, DIGITS), "n": scores.n}


def summary(groups: Mapping[str, Sequence[Scores]]) -> str:
    """One line: accuracy on test, and on its worst variant, under the worst attack and the worst corruption."""
    if not groups["test"]:
        return "no test split (prepare.test is none), so nothing to judge"
    clean = groups["test"][0]
    line = f"top-1 {clean.top1.percent()} on {clean.n:,} test images"
    for what, name in (("worst variant", "test"), ("worst attack", "attacked"), ("worst corruption", "corrupted")):
        if len(groups.get(name, ())) > 1:
            worst = min(groups[name][1:], key=lambda scores: scores.top1.value)
            line += f", {what} {worst.variant} {100 * worst.top1.value:.1f} %"
    return line


def per_class_csv(scores_by_variant: Sequence[Scores], sizes: Sequence[int]) -> dict[str, str]:
    """One row for each variant and class, by file name. sizes: training images of each class, empty where unknown."""
    trained: Sequence[object] = sizes or [""] * max((len(scores.per_class) for scores in scores_by_variant), default=0)
    rows = [
        (scores.variant, *astuple(class_scores), size)
        for scores in scores_by_variant
        for class_scores, size in zip(scores.per_class, trained, strict=True)
    ]
    header = ("variant", "class", "support", "precision", "recall", "f1", "taken_for", "share", "train")
    return {"per_class.csv": to_csv(header, rows)}


def error_tables(scores_by_variant: Sequence[Scores], predictions: Sequence[Predictions], most: int) -> dict[str, str]:
    """CSV texts by file name: of every image (as DVC's confusion template takes it), of pairs, and of mistakes.

    Of the variants given, or headers alone where there are none; at most `most` pairs and mistakes a variant.
    """
    actual_predicted = [
        (one.classes[actual], one.classes[predicted])
        for one in predictions
        for actual, predicted in zip(one.labels, one.predicted, strict=True)
    ]
    confused = [astuple(pair) for scores in scores_by_variant for pair in confused_pairs(scores, most)]
    mistakes = [astuple(mistake) for one in predictions for mistake in confident_mistakes(one, most)]
    return {
        "confusion.csv": to_csv(("actual", "predicted"), actual_predicted),
        "confused.csv": to_csv(("actual", "predicted", "count", "share"), confused),
        "mistakes.csv": to_csv(("row", "id", "actual", "predicted", "probability"), mistakes),
        "calibration.csv": rows_csv(Bin, [found for one in predictions for found in reliability(one)]),
    }
