"""What prepare made of a source, for people and for the report: counts, rules, and every image that is not there."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import PIL

from cache.layout import Array
from pipeline.config.prepare import PrepareConfig
from pipeline.ingest.decode import RULES
from pipeline.ingest.source import Source
from pipeline.ingest.split import Duplicates

LISTED = 1000  # groups of duplicates that are listed; all are counted
PACKED = (".zip", ".tar", ".tgz", ".gz", ".bz2", ".xz")


@dataclass(frozen=True)
class Manifest:
    """Plain values only; equal sources give equal text.

    classes: images by class and split. unreadable: images left out by `unreadable: allow`, with reasons. ignored:
    files that are no images, by ending; passed_over and without_images have them by class. images_by_content: some of
    them that are images all the same. left_out: images of official splits that were not asked for, or unlabelled.
    remarks: what may have been meant otherwise. beyond_limit: training images above `limit_per_class`, and those that
    `imbalance` leaves out. relabel: what corrections changed, by file; left out if there are none.
    """

    source: str
    size: int
    size_rule: str
    decoder: str
    bit_depth: int | str
    split: dict[str, Any]
    images: dict[str, int]
    classes: dict[str, dict[str, int]]
    unreadable: dict[str, str]
    ignored: dict[str, int]
    passed_over: dict[str, dict[str, int]]
    images_by_content: dict[str, str]
    without_images: dict[str, str]
    left_out: dict[str, int]
    remarks: list[str]
    beyond_limit: int
    duplicates: dict[str, Any]
    relabel: dict[str, Any]

    def text(self) -> str:
        """JSON, one value per line."""
        values = {key: value for key, value in asdict(self).items() if key != "relabel" or value}
        return json.dumps({"version": 1, **values}, indent=1, ensure_ascii=False) + "\n"

    @property
    def total(self) -> int:
        """How many images there are."""
        return sum(self.images.values())

    def summary(self) -> str:
        """How many images of what there are, and how many were refused or removed, on one line."""
        counts = ", ".join(f"{count:,} {split}" for split, count in self.images.items())
        total = f"{self.total:,} images in {len(self.classes):,} classes"
        removed = self.duplicates["removed"]
        copies = f"{removed:,} duplicate" if removed == 1 else f"{removed:,} duplicates"
        return f"{total}: {counts}; {len(self.unreadable):,} refused, {copies} removed"


def make_manifest(
    config: PrepareConfig, unique: Source, duplicates: Duplicates, rows: dict[str, Array], names: list[str]
) -> Manifest:
    """Describe a split. unique: what is left of all that was read; rows: those of each split among
    its rows; names: of all files that were read, which duplicates are listed by.
    """
    labels = unique.labels
    counts = {split: np.bincount(labels[index], minlength=len(unique.classes)) for split, index in rows.items()}
    return Manifest(
        source=source_name(config.source),
        size=config.size,
        size_rule=RULES[config.fit],
        decoder=f"pillow {PIL.__version__}",
        bit_depth=config.bit_depth,
        split=_split_of(config),
        images={split: len(index) for split, index in rows.items()},
        classes={
            name: {split: int(count[number]) for split, count in counts.items()}
            for number, name in enumerate(unique.classes)
        },
        unreadable=unique.unreadable,
        ignored=unique.ignored,
        passed_over=unique.passed_over.files,
        images_by_content=unique.passed_over.image_content,
        without_images=unique.passed_over.without_images,
        left_out=unique.passed_over.left_out,
        remarks=unique.passed_over.remarks,
        beyond_limit=unique.not_chosen + len(duplicates.kept) - sum(map(len, rows.values())),
        duplicates=_describe(duplicates, names),
        relabel=unique.relabel.by_action if config.relabel is not None else {},
    )


def describes(manifest: str, config: PrepareConfig) -> bool:
    """Whether sets with this manifest were prepared as the configuration says, from a source of the same name."""
    then = json.loads(manifest)
    now = {"source": source_name(config.source), "size": config.size, "split": _split_of(config)}
    unchanged = {key: then.get(key) for key in now} == now
    return unchanged and then.get("bit_depth", "auto") == config.bit_depth


def _split_of(config: PrepareConfig) -> dict[str, Any]:
    chosen = config.model_dump(include={"val", "test", "limit_per_class", "imbalance", "seed"})
    if config.duplicates == "keep":  # choices then go by other bytes
        chosen["duplicates"] = "keep"
    usual = {"layout": "auto", "labels": "auto", "fit": "crop", "relabel": None}
    return chosen | {key: value for key, value in config.model_dump(include=set(usual)).items() if value != usual[key]}


def source_name(source: str) -> str:
    """The source without its place, and without the ending of an archive: a folder and its archive are one source."""
    path = Path(source).expanduser().absolute() if source != "digits" else Path(source)
    while path.suffix.lower() in PACKED:
        path = path.with_suffix("")
    return path.name


def _describe(duplicates: Duplicates, names: list[str]) -> dict[str, Any]:
    def named(groups: list[list[int]]) -> list[list[str]]:
        return [[names[row] for row in group] for group in groups[:LISTED]]

    return {
        "removed": duplicates.removed,
        "removed_for_conflicting_labels": sum(map(len, duplicates.conflicting)),
        "kept_then_removed": named(duplicates.groups),
        "conflicting": named(duplicates.conflicting),
    }
