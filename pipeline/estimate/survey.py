"""What prepare would make of a source, and some of its images, without making it."""

import time
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from cache.errors import InputError
from cache.layout import Array, hex_keys, row_digests
from pipeline.config.prepare import PrepareConfig
from pipeline.ingest.archive import Unreadable, walk
from pipeline.ingest.decode import decode
from pipeline.ingest.layouts import Layout, match_layout
from pipeline.ingest.source import list_source
from pipeline.ingest.split import SplitRule, imbalanced_rows, split_rows

SAMPLE = 32  # images that are looked at


@dataclass(frozen=True)
class Survey:
    """rows: of each split, duplicates aside. total: images that are read. images: uint8 [k, s, s, 3], some of them.

    list_seconds: to name every file. decode_seconds: of one image, by one thread.
    """

    rows: Mapping[str, int]
    classes: int
    total: int
    images: Array
    list_seconds: float
    decode_seconds: float

    @property
    def ids(self) -> Array:
        """Of the images that were looked at."""
        return hex_keys(row_digests(self.images))


def survey(config: PrepareConfig) -> Survey:
    """List the source, place every name, decode a few images. Raises InputError where it cannot be used."""
    started = time.perf_counter()
    listing = list_source(config.source)
    listed = time.perf_counter() - started
    official = {split for split in ("val", "test") if getattr(config, split) == "official"}
    layout = match_layout(listing.names, listing.annotations, {"train", *official})
    rows, classes = _rows(layout, config)
    images, seconds = _sample(config, layout)
    return Survey(rows, classes, len(layout.names), images, listed, seconds)


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
    return {split: len(index) for split, index in split_rows(*columns, rule).items()}, len(columns[3])


def _sample(config: PrepareConfig, layout: Layout) -> tuple[Array, float]:
    """The first images that can be read, and the seconds that one takes."""
    wanted = {layout.prefix + name for name in layout.names}
    spent = 0.0
    reason = ""
    images: list[Array] = []
    for entry in walk(config.source):
        if entry.name in wanted and len(images) < SAMPLE:
            try:
                content = entry.read()
                started = time.perf_counter()
                images.append(decode(content, config.size))
            except Unreadable as error:
                reason = f"{entry.name}: {error}"
                continue
            spent += time.perf_counter() - started
        if len(images) == SAMPLE:
            break
    if not images:
        raise InputError(
            "no image can be read", where=config.source, found=reason, remedy="Run prepare to list all files."
        )
    return np.stack(images), spent / len(images)
