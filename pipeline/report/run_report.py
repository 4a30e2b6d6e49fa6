"""Everything that the stages found, as one self-contained HTML page."""

import json
from collections.abc import Iterator, Mapping, Sequence
from statistics import mean
from typing import Any

import numpy as np

from cache.layout import canonical
from cache.records import UNAUGMENTED, FeatureSet, ImageSet
from pipeline.config.shared.variants import GAN_PREFIX, variant_order
from pipeline.report.charts import Chart, make_chart, number, phase_bands
from pipeline.report.confusion import make_confusion
from pipeline.report.gallery import choose_side, count_pictures, make_gallery, make_samples, pictures_of
from pipeline.report.html import percent, render_page
from pipeline.report.results import Row, RunResults

STAGES = ("prepare", "augment", "gan", "featurize", "train_head", "train_model", "evaluate")
SPLITS = ("train", "val", "test")
SHOWN_ELSEWHERE = ("version", "classes", "images")
LISTED = 20  # of a long list in the manifest
EXTREMES = 3  # classes that a variant helps or harms most
PAIRS = 12  # near duplicates shown with their pictures


def render_report(results: RunResults) -> str:
    """The page. Every value is escaped, and nothing is fetched from anywhere."""
    mistakes, leaks = results.table("evaluate/mistakes.csv"), _nearest(results)
    made = results.report.samples**2 if any(GAN_PREFIX in name for name in results.images) else 0
    pictures = len(mistakes) + 2 * min(PAIRS, len(leaks)) + made
    side = choose_side(count_pictures(list(results.images), results.report.samples, pictures))
    values = {
        "found": results,
        "random": results.featurize.weights == "random" and not results.model,
        "headline": list(_headline(results)),
        "variants": _judged(results.group("test")),
        "worth": _worth(results.table("evaluate/variants.csv")),
        "attacked": _judged(results.group("attacked")),
        "corrupted": corruption_table(results.group("corrupted")),
        "bins": results.table("evaluate/calibration.csv") if "ece" in results.calibration else [],
        "charts": _charts(results.curves),
        "bands": phase_bands(results.curves),
        "gallery": make_gallery(results.images, results.report.samples, side),
        "samples": make_samples(results.images, results.report.samples, side),
        "counts": _counts(results.images),
        "manifest": list(_flat({key: v for key, v in results.manifest.items() if key not in SHOWN_ELSEWHERE})),
        "per_class": _weakest_first(results.table("evaluate/per_class.csv")),
        "confusion": make_confusion([(r["actual"], r["predicted"]) for r in results.table("evaluate/confusion.csv")]),
        "mistakes": _mistakes(results.images.get("test"), mistakes, side),
        "leaks": _leaks(results.images, leaks[:PAIRS], side),
        "leak_count": len(leaks),
        "runs": _runs(results.runs),
        "recipes": _recipes(results),
    }
    return render_page("report.html.jinja", results.report.title, values)


def _headline(results: RunResults) -> Iterator[tuple[str, str, str]]:
    """Figure, what it is, and a remark."""
    clean, level = results.group("test").get(UNAUGMENTED), f"{100 * results.evaluate.confidence:g} % interval"
    if clean is not None:
        for name, shown in (("top1", "top-1 on test"), ("top5", "top-5 on test"), ("macro_f1", "macro F1 on test")):
            low, high = percent(clean.get(f"{name}_low")), percent(clean.get(f"{name}_high"))
            yield percent(clean.get(name)), shown, f"{level} {low} to {high}"
        if "ece" in clean:
            without = percent(results.calibration.get("ece_without"))
            yield percent(clean["ece"]), "calibration error", f"{without} without the temperature that val gave"
    best = max(
        (value for row in results.curves if (value := number(row.get("val_accuracy"))) is not None), default=None
    )
    if best is not None:
        yield percent(best), "top-1 on val", "the best epoch, chosen by it"
    images = [results.images[split] for split in SPLITS if split in results.images]
    if images:
        parts = ", ".join(f"{len(results.images[split]):,} {split}" for split in SPLITS if split in results.images)
        yield f"{sum(map(len, images)):,}", "images", parts
        yield f"{len(images[0].classes):,}", "classes", ""


def _judged(metrics: Mapping[str, Mapping[str, float]]) -> list[dict[str, Any]]:
    """Each variant's or attack's figures, with its change against the first, which is clean."""
    clean = next(iter(metrics.values()), {}).get("top1", 0.0)
    return [
        {**figures, "name": name, "change": figures["top1"] - clean if index else None}
        for index, (name, figures) in enumerate(metrics.items())
    ]


def _worth(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """What each variant is worth on val, and the classes that it helps and harms most."""
    found = []
    for row in rows:
        classes = {name: float(gain) for name, gain in row.items() if name not in ("variant", "gain", "deviation")}
        ranked = sorted(classes.items(), key=lambda item: -item[1])
        helped = [(name, gain) for name, gain in ranked[:EXTREMES] if gain > 0]
        harmed = [(name, gain) for name, gain in ranked[: -EXTREMES - 1 : -1] if gain < 0]
        gain = {"gain": float(row["gain"]), "deviation": float(row["deviation"])}
        found.append({"name": row["variant"], **gain, "helped": helped, "harmed": harmed})
    return found


def corruption_table(figures: Mapping[str, Mapping[str, float]]) -> dict[str, Any] | None:
    """Top-1 by corruption and severity, with means; None where nothing was corrupted.

    clean: top-1 of the same images as they are. rows: name, mean over severities, and one cell a severity.
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
    every = mean(average for _, average, _ in rows)
    return {"clean": clean[1]["top1"], "n": clean[1]["n"], "severities": severities, "rows": rows, "mean": every}


def _charts(curves: Sequence[Row]) -> list[Chart]:
    columns = curves[0] if curves else {}
    augmented = {name: name.replace("val_accuracy_", "val ") for name in columns if name.startswith("val_accuracy_")}
    accuracy = {"train_accuracy": "train", "val_accuracy": "val", **augmented}
    wanted = (
        make_chart("Accuracy", curves, accuracy, percent=True),
        make_chart("Loss", curves, {"train_loss": "train", "val_loss": "val"}, percent=False),
        make_chart("Learning rate", curves, {"lr": "lr"}, percent=False),
    )
    return [chart for chart in wanted if chart is not None]


def _counts(sets: Mapping[str, ImageSet]) -> dict[str, Any]:
    """Images of each class in each split."""
    splits = [split for split in SPLITS if split in sets]
    classes = sets[splits[0]].classes if splits else ()
    columns = [np.bincount(sets[split].labels, minlength=len(classes)).tolist() for split in splits]
    totals = [sum(column) for column in columns]
    return {"splits": splits, "totals": totals, "rows": list(zip(classes, zip(*columns, strict=True), strict=True))}


def _flat(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """The manifest as key and text; of long lists and mappings the beginning."""
    for key, entry in list(value.items())[:LISTED]:
        if isinstance(entry, Mapping) and entry:
            yield from _flat(entry, f"{prefix}{key}: ")
        elif not isinstance(entry, Mapping):
            yield f"{prefix}{key}", _text(entry)
    if len(value) > LISTED:
        yield f"{prefix}and", f"{len(value) - LISTED:,} more"


def _text(entry: object) -> str:
    if isinstance(entry, list):
        more = [f"and {len(entry) - LISTED:,} more"] if len(entry) > LISTED else []
        return "; ".join([_text(one) for one in entry[:LISTED]] + more) or "none"
    return f"{entry:,}" if type(entry) is int else "none" if entry is None else str(entry)


def _weakest_first(per_class: Sequence[Row]) -> list[Row]:
    clean = [row for row in per_class if row.get("variant") == UNAUGMENTED]
    return sorted(clean, key=lambda row: number(row.get("f1")) or 0.0)


def _mistakes(test: ImageSet | None, mistakes: Sequence[Row], side: int) -> list[tuple[Row, str]]:
    """Each mistake with its picture, empty where the test images are not there."""
    if test is None:
        return [(row, "") for row in mistakes]
    ids = np.array([row.get("id", "").encode() for row in mistakes], dtype="S64")
    return list(zip(mistakes, pictures_of(test, ids, side), strict=True))


def _nearest(results: RunResults) -> list[Row]:
    """Near duplicates of all splits, the nearest first."""
    return sorted(results.table("evaluate/near_duplicates.csv"), key=lambda row: -(number(row.get("cosine")) or 0.0))


def _leaks(sets: Mapping[str, ImageSet], leaks: Sequence[Row], side: int) -> list[tuple[Row, str, str]]:
    """Each near duplicate with the picture of the held-out and of the training image."""

    def picture(split: str, one: str) -> str:
        return pictures_of(sets[split], np.array([one.encode()], dtype="S64"), side)[0] if split in sets else ""

    return [
        (row, picture(row.get("split", ""), row.get("id", "")), picture("train", row.get("train_id", "")))
        for row in leaks
    ]


def _runs(runs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Stages in the pipeline's order; the page's own last run is left out."""
    known = {str(run.get("stage")): run for run in runs}
    rows = []
    for stage in [name for name in STAGES if name in known]:
        made = known[stage].get("rows")
        rows_made = sum(made.values()) if isinstance(made, Mapping) else number(made)
        seconds, cached = number(known[stage].get("seconds")), number(known[stage].get("cached"))
        rate = rows_made / seconds if rows_made and seconds else None
        share = cached / rows_made if cached is not None and rows_made else None
        summary = str(known[stage].get("summary", ""))
        cost = {"seconds": seconds, "rate": rate, "cached": share, "bytes": number(known[stage].get("bytes"))}
        rows.append({"stage": stage, "rows": rows_made, "summary": summary, **cost})
    return rows


def _recipes(results: RunResults) -> list[tuple[list[str], str]]:
    """Each distinct recipe once, with what it made."""
    made: dict[bytes, list[str]] = {}
    kinds: dict[str, Mapping[str, ImageSet | FeatureSet]] = {"images": results.images, "features": results.features}
    for kind, sets in kinds.items():
        for one in sorted(sets.values(), key=lambda one: variant_order(one.variant)):
            names = made.setdefault(canonical(one.recipe), [])
            if (name := f"{one.variant} {kind}") not in names:
                names.append(name)
    return [(names, json.dumps(json.loads(text), indent=2, ensure_ascii=False)) for text, names in made.items()]
