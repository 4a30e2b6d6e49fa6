"""The results of all stages as one self-contained HTML page."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from statistics import mean
from typing import Any

import numpy as np

from cache.records import UNAUGMENTED, ImageSet
from pipeline.config.shared.limits import COMPARED_IMAGES
from pipeline.config.shared.stages import AUGMENT, EVALUATE, FEATURIZE, GAN, PREPARE
from pipeline.config.shared.variants import GAN_PREFIX
from pipeline.report.charts import number
from pipeline.report.classifiers import compare_classifiers
from pipeline.report.confusion import make_confusion
from pipeline.report.details import class_counts, manifest_rows, recipes, stage_rows
from pipeline.report.gallery import choose_side, count_thumbnails, make_gallery, make_samples, thumbnails_of
from pipeline.report.glossary import words_of
from pipeline.report.headline import doubtful_labels, in_plain_words, tiles
from pipeline.report.html import render_page
from pipeline.report.learning import ERRORS, advice, learning_chart
from pipeline.report.results import TRAINERS, Row, RunResults
from pipeline.report.review import SUSPECT, UNLISTED, count_kinds, expected_wrong, open_suspects, review_rows
from pipeline.report.review_pictures import doubtful, suspects, where_it_looks
from pipeline.report.training import make_training

STAGES = (PREPARE, AUGMENT, GAN, FEATURIZE, *TRAINERS, EVALUATE)
EXTREMES = 3  # classes that a variant helps or harms most
PAIRS = 12  # near duplicates shown with their thumbnails


def render_report(results: RunResults) -> str:
    """The page. Every value is escaped, and nothing is fetched from anywhere."""
    mistakes = results.table(f"{EVALUATE}/mistakes.csv")
    leaks = _nearest_first(results.table(f"{EVALUATE}/near_duplicates.csv"))
    samples = results.report.samples**2 if any(GAN_PREFIX in name for name in results.images) else 0
    others = len(mistakes) + 2 * min(PAIRS, len(leaks)) + samples
    side = choose_side(count_thumbnails(list(results.images), results.report.samples, others))
    pairs = [(row["actual"], row["predicted"]) for row in results.table(f"{EVALUATE}/confusion.csv")]
    values = {
        "results": results,
        "random": results.featurize.weights == "random" and not results.model,
        "used": TRAINERS[results.used],
        "glossary": words_of(results),
        "plain_words": in_plain_words(results),
        "doubt": doubtful_labels(results),
        "tiles": list(tiles(results)),
        "variants": _with_changes(results.group("test")),
        "classifiers": compare_classifiers(results),
        "gains": variant_gains(results.table(f"{EVALUATE}/variants.csv")),
        "attacked": _with_changes(results.group("attacked")),
        "corrupted": corruption_table(results.group("corrupted")),
        "bins": results.table(f"{EVALUATE}/calibration.csv") if "ece" in results.calibration else [],
        "trainings": [make_training(results, stage) for stage in results.trained],
        "gallery": make_gallery(results.images, results.report.samples, side, results.files),
        "samples": make_samples(results.images, results.report.samples, side),
        "counts": class_counts(results.images),
        "manifest": manifest_rows(results.manifest),
        "per_class": _weakest_first(results.table(f"{EVALUATE}/per_class.csv")),
        "confusion": make_confusion(pairs),
        "mistakes": _mistakes(results.images.get("test"), mistakes, side),
        "leaks": _leaks(results.images, leaks[:PAIRS], side),
        "leak_count": len(leaks),
        "compared": COMPARED_IMAGES if _is_more(results.images) else 0,
        "suspects": suspects(results),
        "review": _review_counts(results),
        "unreadable": results.manifest.get("unreadable", {}),
        "doubtful": doubtful(results),
        "looks": where_it_looks(results),
        "learning": learning_chart(results),
        "errors": ERRORS,
        "learning_classes": results.table(f"{EVALUATE}/learning_classes.csv"),
        "advice": advice(results),
        "stages": stage_rows(results.runs, STAGES),
        "recipes": recipes(results.images, results.features),
    }
    return render_page("report.html.jinja", results.report.title, values)


def _review_counts(results: RunResults) -> dict[str, Any]:
    """files: rows of review.csv. kinds: files by kind. suspects: those not decided about, even without a file.

    outlook: how many of them are probably wrong.
    """
    rows = review_rows(results)
    kinds = count_kinds(rows)
    listed = results.table(f"{EVALUATE}/suspects.csv")
    suspected = len(open_suspects(listed, results.manifest))
    return {
        "files": len(rows),
        "kinds": kinds,
        "suspects": suspected,
        "with_file": kinds[SUSPECT],
        "decided": len(listed) - suspected,
        "outlook": expected_wrong(listed, results.manifest, results.json(UNLISTED)),
    }


def _with_changes(scores: Mapping[str, Mapping[str, float]]) -> list[dict[str, Any]]:
    """The scores of each variant or attack, with the change against the first, which is clean."""
    clean = next(iter(scores.values()), {}).get("top1", 0.0)
    return [
        {**figures, "name": name, "change": figures["top1"] - clean if index else None}
        for index, (name, figures) in enumerate(scores.items())
    ]


def variant_gains(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """By how much each variant raises accuracy on val, and the classes that it helps and harms most.

    rows: of variants.csv: variant, class (empty for all images), gain and deviation.
    """
    return [_variant_gain(name, list(group)) for name, group in groupby(rows, key=lambda row: row["variant"])]


def _variant_gain(name: str, rows: Sequence[Row]) -> dict[str, Any]:
    overall = next(row for row in rows if not row["class"])
    by_class = sorted(((row["class"], float(row["gain"])) for row in rows if row["class"]), key=lambda item: -item[1])
    return {
        "name": name,
        "gain": float(overall["gain"]),
        "deviation": float(overall["deviation"]),
        "helped": [(label, gain) for label, gain in by_class[:EXTREMES] if gain > 0],
        "harmed": [(label, gain) for label, gain in by_class[: -EXTREMES - 1 : -1] if gain < 0],
    }


def corruption_table(figures: Mapping[str, Mapping[str, float]]) -> dict[str, Any] | None:
    """Top-1 by corruption and severity, with means; None if nothing was corrupted.

    clean: top-1 of the same images uncorrupted. rows: name, mean over severities, and one cell per severity.
    """
    clean, *corrupted = figures.items() if figures else [("", {})]
    if not corrupted:
        return None
    cells: dict[str, dict[str, float]] = {}
    for variant, row in corrupted:
        name, _, severity = variant.rpartition("_")
        cells.setdefault(name, {})[severity] = row["top1"]
    severities = list(next(iter(cells.values())))
    rows = [(name, mean(row.values()), [row.get(severity) for severity in severities]) for name, row in cells.items()]
    overall = mean(average for _, average, _ in rows)
    return {"clean": clean[1]["top1"], "n": clean[1]["n"], "severities": severities, "rows": rows, "mean": overall}


def _weakest_first(per_class: Sequence[Row]) -> list[Row]:
    clean = [row for row in per_class if row.get("variant") == UNAUGMENTED]
    return sorted(clean, key=lambda row: number(row.get("f1")) or 0.0)


def _mistakes(test: ImageSet | None, mistakes: Sequence[Row], side: int) -> list[tuple[Row, str]]:
    """Each mistake with its thumbnail, empty without the test images."""
    if test is None:
        return [(row, "") for row in mistakes]
    ids = np.array([row.get("id", "").encode() for row in mistakes], dtype="S64")
    return list(zip(mistakes, thumbnails_of(test, ids, side), strict=True))


def _is_more(sets: Mapping[str, ImageSet]) -> bool:
    """Whether val or test has more images than are compared with train."""
    return any(len(images) > COMPARED_IMAGES for name, images in sets.items() if not name.startswith("train"))


def _nearest_first(leaks: Sequence[Row]) -> list[Row]:
    return sorted(leaks, key=lambda row: -(number(row.get("cosine")) or 0.0))


def _leaks(sets: Mapping[str, ImageSet], leaks: Sequence[Row], side: int) -> list[tuple[Row, str, str]]:
    """Each near duplicate with the thumbnails of the held-out and of the training image."""

    def thumbnail(split: str, image_id: str) -> str:
        ids = np.array([image_id.encode()], dtype="S64")
        return thumbnails_of(sets[split], ids, side)[0] if split in sets else ""

    return [
        (row, thumbnail(row.get("split", ""), row.get("id", "")), thumbnail("train", row.get("train_id", "")))
        for row in leaks
    ]
