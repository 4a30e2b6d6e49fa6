"""What the page says of a run beside accuracies: images, manifest, stages and the recipes of cached files."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from cache.layout import canonical
from cache.records import FeatureSet, ImageSet
from pipeline.config.shared.variants import variant_order
from pipeline.report.charts import number

SPLITS = ("train", "val", "test")
SHOWN_ELSEWHERE = ("version", "classes", "images")
LISTED = 20  # entries of a long list in the manifest
PLAIN_NAMES = {
    "size_rule": "how that size was made",
    "split": "chosen values",
    "ignored": "other files, by kind",
    "passed_over": "other files, by folder",
    "images_by_content": "images without an image's name",
    "without_images": "folders without images",
    "left_out": "images that were not asked for",
    "beyond_limit": "training images above limit_per_class",
    "duplicates": "copies",
    "removed": "left out",
    "removed_for_conflicting_labels": "left out, because their copies have other labels",
    "kept_then_removed": "the one that was kept, then the others",
    "conflicting": "with different labels",
}


def class_counts(sets: Mapping[str, ImageSet]) -> dict[str, Any]:
    """Images of each class in each split."""
    splits = [split for split in SPLITS if split in sets]
    classes = sets[splits[0]].classes if splits else ()
    columns = [np.bincount(sets[split].labels, minlength=len(classes)).tolist() for split in splits]
    totals = [sum(column) for column in columns]
    return {"splits": splits, "totals": totals, "rows": list(zip(classes, zip(*columns, strict=True), strict=True))}


def manifest_rows(manifest: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The manifest as words and text, without kinds of which there are none; of long lists the beginning."""
    return list(_flat({key: value for key, value in manifest.items() if key not in SHOWN_ELSEWHERE}))


def _flat(entries: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, entry in list(entries.items())[:LISTED]:
        name = f"{prefix}{PLAIN_NAMES.get(key, key)}"
        if isinstance(entry, Mapping):
            yield from _flat(entry, f"{name}: ")
        elif entry not in (None, []) and (entry != 0 or key not in PLAIN_NAMES):
            yield name, _text(entry)
    if len(entries) > LISTED:
        yield f"{prefix}and", f"{len(entries) - LISTED:,} more"


def _text(entry: object) -> str:
    if type(entry) is int:
        return f"{entry:,}"
    if not isinstance(entry, list):
        return str(entry)
    texts = [_text(item) for item in entry[:LISTED]]
    if len(entry) > LISTED:
        texts.append(f"and {len(entry) - LISTED:,} more")
    return "; ".join(texts)


def stage_rows(runs: Mapping[str, Mapping[str, Any]], stages: tuple[str, ...]) -> list[dict[str, Any]]:
    """Time, rate, share from the cache and size of each stage that has run, in the order of `stages`."""
    return [_stage_row(stage, runs[stage]) for stage in stages if stage in runs]


def _stage_row(stage: str, run: Mapping[str, Any]) -> dict[str, Any]:
    recorded = run.get("rows")
    rows = sum(recorded.values()) if isinstance(recorded, Mapping) else number(recorded)
    seconds = number(run.get("seconds"))
    cached = number(run.get("cached"))
    return {
        "stage": stage,
        "rows": rows,
        "summary": ". ".join(map(str, [run.get("summary", ""), *run.get("remarks", [])])),
        "seconds": seconds,
        "rate": rows / seconds if rows and seconds else None,
        "cached": cached / rows if cached is not None and rows else None,
        "bytes": number(run.get("bytes")),
    }


def recipes(images: Mapping[str, ImageSet], features: Mapping[str, FeatureSet]) -> list[tuple[list[str], str]]:
    """Each distinct recipe once, as JSON, with the names of what it made."""
    names: dict[bytes, list[str]] = {}
    kinds: dict[str, Mapping[str, ImageSet | FeatureSet]] = {"images": images, "features": features}
    for kind, sets in kinds.items():
        for rows in sorted(sets.values(), key=lambda rows: variant_order(rows.variant)):
            same = names.setdefault(canonical(rows.recipe), [])
            name = f"{rows.variant} {kind}"
            if name not in same:
                same.append(name)
    return [(same, json.dumps(json.loads(text), indent=2, ensure_ascii=False)) for text, same in names.items()]
