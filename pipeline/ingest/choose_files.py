"""Choose files by their bytes, before any is decoded, if nobody asks which of them have the same pixels."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from cache.layout import Array, hex_keys
from pipeline.config.prepare import HoldOut, PrepareConfig
from pipeline.ingest.archive import Unreadable, walk
from pipeline.ingest.layouts import SPLITS, Layout, Uncorrected
from pipeline.ingest.split import SplitRule, imbalanced_rows, split_rows
from pipeline.ingest.steady_split import FormerImages, split_steadily


def hash_files(source: str, layout: Layout, advance: Callable[[int], object]) -> Array:
    """Ids S64 [n] of the files of a layout: the SHA-256 of their bytes; of nothing if they cannot be read."""
    slots = {layout.prefix + name: slot for slot, name in enumerate(layout.names)}
    digests = np.zeros((len(layout.names), 32), dtype=np.uint8)
    for entry in walk(source):
        slot = slots.get(entry.name)
        if slot is None:
            continue
        try:
            content = entry.read()
        except Unreadable:  # the reason is given when it is decoded
            content = b""
        digests[slot] = np.frombuffer(hashlib.sha256(content).digest(), dtype=np.uint8)
        advance(1)
    return hex_keys(digests)


def choose_files(layout: Layout, ids: Array, config: PrepareConfig) -> tuple[Layout, dict[str, str]]:
    """The layout of the files that `imbalance`, the splits and `limit_per_class` keep; `held` is the split of each.

    ids S64 [n]: of the files. Also returned: files that corrections moved into another split, and which. Raises
    InputError if a class would be left without images.
    """
    if layout.uncorrected is not None and not config.imbalance:
        return _chosen_steadily(layout, layout.uncorrected, ids, config)
    ids = ids[~layout.dropped]
    layout = layout.take(np.flatnonzero(~layout.dropped))
    rows = np.arange(len(ids))
    classes = layout.classes
    labels = layout.labels
    if config.imbalance:
        columns = (ids, labels, layout.held, classes)
        rows, numbers = imbalanced_rows(*columns, config.imbalance, config.seed)
        labels = np.searchsorted(numbers, labels[rows])
        classes = tuple(classes[number] for number in numbers)
    splits = split_rows(ids[rows], labels, layout.held[rows], classes, _rule_of_files(config), {})
    return _with_splits(replace(layout.take(rows), labels=labels, classes=classes), splits), {}


def _chosen_steadily(
    layout: Layout, uncorrected: Uncorrected, ids: Array, config: PrepareConfig
) -> tuple[Layout, dict[str, str]]:
    """By the labels before corrections."""
    former = FormerImages(ids, uncorrected.labels, layout.held)
    present = np.flatnonzero(~uncorrected.dropped)
    gone = former.take(np.flatnonzero(uncorrected.dropped))
    layout = layout.take(present)
    steady = split_steadily(former.take(present), gone, layout.labels, layout.classes, _rule_of_files(config))
    return _with_splits(layout, steady.rows), {layout.names[row]: split for row, split in steady.moved.items()}


def _rule_of_files(config: PrepareConfig) -> SplitRule:
    return SplitRule(config.val, config.test, config.limit_per_class, config.seed)


def _with_splits(layout: Layout, splits: Mapping[str, Array]) -> Layout:
    """The images that are in a split, which `held` names."""
    split_of = np.full(len(layout.names), -1)
    for split, chosen in splits.items():
        split_of[chosen] = SPLITS.index(split)
    kept = np.flatnonzero(split_of >= 0)
    return replace(layout.take(kept), held=split_of[kept])


def rule_of(config: PrepareConfig) -> SplitRule:
    """What splits the images that were decoded.

    Files that were chosen before belong to the split that `held` says, and all of them stay.
    """
    if config.duplicates != "keep":
        return _rule_of_files(config)
    val: HoldOut = "none" if config.val == "none" else "official"
    test: HoldOut = "none" if config.test == "none" else "official"
    return SplitRule(val, test, None, config.seed)
