"""The values of params.yaml that start writes, by `section.key`: of the source, and of its choices or a preset."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.config.edit import read_value
from pipeline.config.presets import read_preset
from pipeline.estimate.wishes import Choice, Wishes
from pipeline.ingest.label_tables import TABLES

OF_A_SOURCE: Mapping[str, Any] = {"prepare.limit_per_class": None, "prepare.imbalance": None, "prepare.relabel": None}
TO_READ = ("prepare.layout", "prepare.labels", "prepare.max_megapixels", "prepare.bit_depth")


def source_of(photos: str) -> dict[str, str]:
    """As params.yaml names it: relative to this folder if it lies inside. A table of labels stands for its folder."""
    if photos == "digits":
        return {"prepare.source": "pipeline/digits.txt", "prepare.labels": "auto"}
    path = Path(os.path.abspath(os.path.expanduser(photos)))
    labels = "auto"
    if path.suffix.lower() in TABLES and path.is_file():
        labels = path.name
        path = path.parent
    inside = os.path.relpath(path)
    return {"prepare.source": str(path) if inside.startswith("..") else inside, "prepare.labels": labels}


def values_to_look(source: Mapping[str, str], wishes: Wishes, overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Those with which all images of a source are looked at, before anything is decided."""
    fit = {"prepare.fit": wishes.fit} if wishes.fit else {}
    whole = {"prepare.val": "none", "prepare.test": "none", "prepare.limit_per_class": None, "prepare.imbalance": None}
    return {**source, **whole, **fit, **{key: overrides[key] for key in TO_READ if key in overrides}}


def with_source(text: str, source: Mapping[str, str], choices: Sequence[Choice], preset: str | None) -> list[Choice]:
    """All choices, the source first; a preset's in place of those that start would make.

    text: of the old params.yaml. What it says about another source goes. Raises ParamsError for an unknown preset.
    """
    is_same = read_value(text, "prepare.source") == source["prepare.source"]
    relabel = read_value(text, "prepare.relabel") if is_same else None
    title = Path(source["prepare.source"]).name.partition(".")[0] or "augcache"
    changes = {**source, "report.title": title, **({} if is_same else OF_A_SOURCE)}
    first = Choice("source", source["prepare.source"], "as you say", changes)
    corrections = [Choice("corrections", "kept", f"labels are as {relabel} corrects them")] if relabel else []
    if preset is None:
        return [first, *corrections, *choices]
    job = read_preset(preset)
    given = [choice for choice in choices if choice.reason.startswith("as you say") or choice.subject == "unreadable"]
    named = [Choice(key, str(value), "as the preset says", {key: value}) for key, value in job.changes.items()]
    return [first, Choice("preset", preset, job.about), *named, *given]


def changes_of(choices: Sequence[Choice]) -> dict[str, Any]:
    """All values together, later choices before earlier ones."""
    return {key: value for choice in choices for key, value in choice.changes.items()}
