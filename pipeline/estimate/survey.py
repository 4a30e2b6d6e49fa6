"""What prepare would make of a source, and some of its images, without making it."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from cache.errors import InputError
from cache.layout import Array, hex_keys, row_digests
from pipeline.config.prepare import PrepareConfig
from pipeline.ingest.archive import Unreadable, walk
from pipeline.ingest.decode import DecodeOptions, decode
from pipeline.ingest.layouts import Layout
from pipeline.ingest.listing import list_source
from pipeline.ingest.place import corrected, place
from pipeline.ingest.split import SplitRule, imbalanced_rows, split_rows

SAMPLE = 32  # images that are looked at
NAMED = 3  # unreadable images that the line names


@dataclass(frozen=True)
class Survey:
    """rows: of each split, duplicates aside. total: images that are read. images: uint8 [k, s, s, 3], some of them.

    list_seconds: to name every file. decode_seconds: of one image, by one thread. unreadable: those among the images
    that were looked at, with the reason.
    """

    rows: Mapping[str, int]
    classes: int
    total: int
    images: Array
    list_seconds: float
    decode_seconds: float
    unreadable: Mapping[str, str] = field(default_factory=dict)

    @property
    def ids(self) -> Array:
        """Of the images that were looked at."""
        return hex_keys(row_digests(self.images))

    @property
    def unreadable_line(self) -> str:
        """How many of the images that were looked at cannot be read, with the first reasons; empty if none."""
        if not self.unreadable:
            return ""
        tried = len(self.images) + len(self.unreadable)
        return f"{len(self.unreadable)} of the first {tried} images cannot be read: {_listed(self.unreadable)}"


def survey(config: PrepareConfig) -> Survey:
    """List the source, place every name, decode a few images. Raises InputError if it cannot be used."""
    started = time.perf_counter()
    listing = list_source(config.source)
    listed = time.perf_counter() - started
    layout, _ = corrected(place(listing, config), listing, config)
    layout = layout.take(np.flatnonzero(~layout.dropped))
    rows, classes = _rows(layout, config)
    images, seconds, unreadable = _sample(config, layout)
    return Survey(rows, classes, len(layout.names), images, listed, seconds, unreadable)


def _rows(layout: Layout, config: PrepareConfig) -> tuple[dict[str, int], int]:
    """Images of each split, by the rules that prepare obeys, and how many classes stay."""
    names = [np.frombuffer(name.encode(), dtype=np.uint8) for name in layout.names]
    ids = hex_keys(np.concatenate([row_digests(name[None]) for name in names]))
    columns = (ids, layout.labels, layout.held, layout.classes)
    if config.imbalance:
        kept, numbers = imbalanced_rows(*columns, config.imbalance, config.seed)
        labels = np.searchsorted(numbers, layout.labels[kept])
        columns = (ids[kept], labels, layout.held[kept], tuple(layout.classes[number] for number in numbers))
    rule = SplitRule(config.val, config.test, config.limit_per_class, config.seed)
    return {split: len(index) for split, index in split_rows(*columns, rule, {}).items()}, len(columns[3])


def _listed(unreadable: Mapping[str, str]) -> str:
    lines = [f"{name} {reason}" for name, reason in sorted(unreadable.items())]
    return "; ".join(lines if len(lines) <= NAMED else [*lines[:NAMED], f"and {len(lines) - NAMED} more"])


def _sample(config: PrepareConfig, layout: Layout) -> tuple[Array, float, dict[str, str]]:
    """The first images that can be read, the seconds that each takes, and those that cannot be read."""
    wanted = {layout.prefix + name for name in layout.names}
    options = DecodeOptions.of(config)
    spent = 0.0
    images: list[Array] = []
    unreadable: dict[str, str] = {}
    for entry in walk(config.source):
        if entry.name in wanted and len(images) < SAMPLE:
            try:
                content = entry.read()
                started = time.perf_counter()
                images.append(decode(content, config.size, options, entry.name))
            except Unreadable as error:
                unreadable[entry.name] = str(error)
                continue
            spent += time.perf_counter() - started
        if len(images) == SAMPLE:
            break
    if not images:
        raise InputError(f"no image can be read: {_listed(unreadable)}", where=config.source)
    return np.stack(images), spent / len(images), unreadable
