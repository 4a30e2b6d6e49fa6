"""Figures as the plain CSV and JSON that DVC and spreadsheets read."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, fields
from typing import Any

from cache.records import UNAUGMENTED
from pipeline.metrics.calibration import Bin, reliability
from pipeline.metrics.compare import Comparison
from pipeline.metrics.csv_text import DIGITS, to_csv
from pipeline.metrics.predictions import FilePrediction, Predictions
from pipeline.metrics.scores import Report, confident_mistakes, confused_pairs


def variant_order(variant: str) -> tuple[bool, str, int]:
    """A sort key: unaugmented first, then by policy and draw, so that spatial_10 comes after spatial_2."""
    draw = re.search(r"_(\d+)$", variant)
    return variant != UNAUGMENTED, variant[: draw.start()] if draw else variant, int(draw[1]) if draw else 0


def metrics_json(groups: Mapping[str, Sequence[Report]], extra: Mapping[str, Mapping[str, float]]) -> str:
    """`{group: {variant, attack or corruption: {"top1": ..., "top1_low": ..., ...}}, ...}`: names that stay.

    extra: plain figures by group, such as those of calibration.
    """
    figures = {name: {report.variant: _figures(report) for report in group} for name, group in groups.items()}
    rounded = {group: {name: round(value, DIGITS) for name, value in row.items()} for group, row in extra.items()}
    return json.dumps({**figures, **rounded}, indent=2) + "\n"


def _figures(report: Report) -> dict[str, Any]:
    figures: dict[str, Any] = {}
    for name in ("top1", "top5", "macro_f1"):
        interval = getattr(report, name)
        for suffix, value in (("", interval.value), ("_low", interval.low), ("_high", interval.high)):
            figures[name + suffix] = round(value, DIGITS)
    return {**figures, "ece": round(report.ece, DIGITS), "n": report.n}


def summary(groups: Mapping[str, Sequence[Report]]) -> str:
    """One line: accuracy on test, and on its worst variant, under the worst attack and the worst corruption."""
    if not groups["test"]:
        return "no test split (prepare.test is none), so nothing to judge"
    clean = groups["test"][0]
    line = f"top-1 {clean.top1.percent()} on {clean.n:,} test images"
    for what, name in (("worst variant", "test"), ("worst attack", "attacked"), ("worst corruption", "corrupted")):
        if len(groups.get(name, ())) > 1:
            worst = min(groups[name][1:], key=lambda report: report.top1.value)
            line += f", {what} {worst.variant} {100 * worst.top1.value:.1f} %"
    return line


def per_class_csv(reports: Sequence[Report], sizes: Sequence[int]) -> dict[str, str]:
    """One row for each variant and class, by file name. sizes: training images of each class, empty where unknown."""
    trained: Sequence[object] = sizes or [""] * max((len(report.classes) for report in reports), default=0)
    rows = [
        (report.variant, *astuple(scores), size)
        for report in reports
        for scores, size in zip(report.classes, trained, strict=True)
    ]
    header = ("variant", "class", "support", "precision", "recall", "f1", "taken_for", "share", "train")
    return {"per_class.csv": to_csv(header, rows)}


def predictions_csv(found: Sequence[FilePrediction], top: int) -> str:
    """One row a file; the `label` column only where some file has one."""
    labelled, top = any(one.label for one in found), max((len(one.classes) for one in found), default=top)
    ranks = [f"_{rank}" if rank > 1 else "" for rank in range(1, top + 1)]
    header = ["path", *["label"] * labelled, *(name + rank for rank in ranks for name in ("class", "probability"))]
    rows = []
    for one in found:
        pairs = [cell for pair in zip(one.classes, one.probabilities, strict=True) for cell in pair]
        rows.append([one.path, *[one.label] * labelled, *(pairs or [""] * 2 * top), one.error])
    return to_csv([*header, "error"], rows)


def submission_csv(found: Sequence[FilePrediction]) -> str:
    """`id,label` as for a competition (report 003): file name and class; no label where a file cannot be read."""
    return to_csv(("id", "label"), [(one.path.rpartition("/")[2], next(iter(one.classes), "")) for one in found])


def comparison_table(found: Sequence[Comparison]) -> list[str]:
    """Lines of text, one a variant."""
    width = max(len(one.variant) for one in found) + 2
    numbers = f"{'images':>8}{'before':>9}{'after':>9}  {'change, points':<24}{'gained':>8}{'lost':>8}{'p':>9}"
    lines = [f"{'variant':<{width}}{numbers}"]
    for one in found:
        change = one.difference
        points = f"{100 * change.value:+.1f} [{100 * change.low:+.1f}, {100 * change.high:+.1f}]"
        shares = f"{one.n:>8,}{one.before:>9.1%}{one.after:>9.1%}"
        lines.append(f"{one.variant:<{width}}{shares}  {points:<24}{one.gained:>8,}{one.lost:>8,}{one.p_value:>9.2g}")
    return lines


def rows_csv(kind: type[Any], rows: Iterable[Any]) -> str:
    """One column a field, one line a row."""
    return to_csv([field.name for field in fields(kind)], map(astuple, rows))


def error_tables(reports: Sequence[Report], predictions: Sequence[Predictions], most: int) -> dict[str, str]:
    """CSV texts by file name: of every image (as DVC's confusion template takes it), of pairs, and of mistakes.

    Of the variants given, or headers alone where there are none; at most `most` pairs and mistakes a variant.
    """
    actual_predicted = [
        (one.classes[actual], one.classes[predicted])
        for one in predictions
        for actual, predicted in zip(one.labels, one.predicted, strict=True)
    ]
    confused = [astuple(pair) for report in reports for pair in confused_pairs(report, most)]
    mistakes = [astuple(mistake) for one in predictions for mistake in confident_mistakes(one, most)]
    return {
        "confusion.csv": to_csv(("actual", "predicted"), actual_predicted),
        "confused.csv": to_csv(("actual", "predicted", "count", "share"), confused),
        "mistakes.csv": to_csv(("row", "id", "actual", "predicted", "probability"), mistakes),
        "calibration.csv": rows_csv(Bin, [found for one in predictions for found in reliability(one)]),
    }
