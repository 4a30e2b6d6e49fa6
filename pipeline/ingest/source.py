"""A source of labelled images that was read: its rows, and what became of each file."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from cache.layout import Array
from cache.records import ImageSet
from cache.stored_rows import GatheredRows
from pipeline.ingest.passed_over import PassedOver
from pipeline.ingest.relabels import Applied
from pipeline.ingest.resizing import Resizing
from pipeline.ingest.steady_split import FormerImages

FITS = {
    "crop": "their centres are kept, crop",
    "pad": "they are kept whole between grey borders",
    "squash": "they are kept whole, their proportions changed",
}


@dataclass(frozen=True)
class Source:
    """Everything read from a source. Columns [n] in the order of names; ids are the SHA-256 of the sized pixels.

    names are without the folders that all images share, paths as the source has them. lost: how many images of each
    class cannot be read. unreadable: images that are not among the rows, and why. ignored: files that are no images, by
    ending; passed_over has them by class. not_chosen: images that were left out before any was decoded.
    resizing: how they came to the stored size. recipe: what made the pixels. new_parts: part files that this run
    has written of them. relabel: what corrections changed. fit: how images became square, elongated: how many had to.
    former: the rows as they were before corrections, dropped: the images that these leave out; None without any.
    """

    images: GatheredRows
    names: list[str]
    paths: list[str]
    ids: Array
    labels: Array
    held: Array
    classes: tuple[str, ...]
    lost: Array  # int [classes]
    unreadable: dict[str, str]
    ignored: dict[str, int]
    passed_over: PassedOver
    resizing: Resizing
    recipe: dict[str, Any]
    new_parts: frozenset[Path] = frozenset()
    not_chosen: int = 0
    relabel: Applied = field(default_factory=Applied)
    fit: str = "crop"
    elongated: int = 0
    former: FormerImages | None = None
    dropped: FormerImages | None = None

    def take(self, rows: Array) -> "Source":
        """The chosen rows, pixels still on disk."""
        columns = {name: getattr(self, name)[rows] for name in ("ids", "labels", "held")}
        columns |= {} if self.former is None else {"former": self.former.take(rows)}
        names = [self.names[row] for row in rows]
        paths = [self.paths[row] for row in rows]
        return replace(self, images=self.images.take(rows), names=names, paths=paths, **columns)

    def lines(self) -> Iterator[str]:
        """For the terminal: what was passed over, what corrections changed, how images became square."""
        yield from self.passed_over.lines()
        yield from self.relabel.lines()
        yield from self.resizing.lines()
        if self.elongated:
            yield f"{self.elongated:,} images are not square; {FITS[self.fit]} (prepare.fit is {self.fit})"

    @property
    def columns(self) -> tuple[Array, Array, Array, tuple[str, ...]]:
        """What a split is chosen by: ids, labels, held, classes."""
        return self.ids, self.labels, self.held, self.classes

    def of_classes(self, rows: Array, numbers: list[int]) -> "Source":
        """The chosen rows, which are of these classes; the classes numbered anew."""
        chosen = self.take(rows)
        labels = np.searchsorted(numbers, chosen.labels)
        classes = tuple(self.classes[number] for number in numbers)
        return replace(chosen, labels=labels, classes=classes, lost=self.lost[numbers])

    def image_set(self, rows: Array) -> ImageSet:
        """The chosen rows as a set, pixels still on disk."""
        return ImageSet(self.images.take(rows), self.labels[rows], self.ids[rows], self.classes, recipe=self.recipe)
