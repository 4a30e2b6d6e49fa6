"""Read a source of labelled images: list it, place it, then decode what is wanted into a spool of pixels.

The source is walked twice. The first walk only names files, so a wrong layout, a missing split or a full disk is
found before any work; the second decodes, in threads (Pillow lets go of the interpreter), each image into its own
place in one file on disk. Memory holds names, ids and labels, and a bounded number of images in flight.
"""

import os
from collections import Counter
from collections.abc import Callable, Collection
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

import numpy as np
import PIL

from cache.errors import InputError
from cache.files import check_space
from cache.layout import Array, hex_keys
from cache.records import ImageSet
from pipeline.ingest.archive import Entry, is_hidden, walk
from pipeline.ingest.decode import EXTENSIONS, RULE, DecodeOptions
from pipeline.ingest.layouts import ANNOTATIONS, match_layout
from pipeline.ingest.pixel_file import Decoding, PixelFile

Progress = Callable[[int, str, str], AbstractContextManager[Callable[[int], object]]]

ANNOTATION_BYTES = 64 << 20
FIRST = 3  # unreadable images that the error names; the list on disk names all


@dataclass(frozen=True)
class Listing:
    """What a source holds by name: images, files that are none (counted by ending), Tiny ImageNet's annotations."""

    names: set[str] = field(default_factory=set)
    ignored: Counter[str] = field(default_factory=Counter)
    annotations: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Source:
    """Everything read from a source. Columns [n] in the order of names; ids are the SHA-256 of the sized pixels.

    unreadable: images that are not among the rows, and why. ignored: files that are no images, by ending.
    """

    images: PixelFile
    names: list[str]
    ids: Array
    labels: Array
    held: Array
    classes: tuple[str, ...]
    unreadable: dict[str, str]
    ignored: dict[str, int]
    left_out: dict[str, int]

    def take(self, rows: Array) -> "Source":
        """The chosen rows, pixels still on disk."""
        columns = {name: getattr(self, name)[rows] for name in ("ids", "labels", "held")}
        return replace(self, images=self.images.take(rows), names=[self.names[row] for row in rows], **columns)

    @property
    def columns(self) -> tuple[Array, Array, Array, tuple[str, ...]]:
        """What a split is chosen by: ids, labels, held, classes."""
        return self.ids, self.labels, self.held, self.classes

    def of_classes(self, rows: Array, numbers: list[int]) -> "Source":
        """The chosen rows, which are of these classes; the classes numbered anew."""
        chosen = self.take(rows)
        labels = np.searchsorted(numbers, chosen.labels)
        return replace(chosen, labels=labels, classes=tuple(self.classes[number] for number in numbers))

    def image_set(self, rows: Array) -> ImageSet:
        """The chosen rows as a set, pixels still on disk."""
        recipe = {"size": self.images.size, "size_rule": RULE, "decoder": f"pillow {PIL.__version__}"}
        return ImageSet(self.images.take(rows), self.labels[rows], self.ids[rows], self.classes, recipe=recipe)


def ingest(
    source: str,
    size: int,
    wanted: Collection[str],
    scratch: Path,
    progress: Progress,
    options: DecodeOptions | None = None,
) -> Source:
    """Read the images of the wanted official splits (and `train`) at a stored size into a spool in `scratch`.

    Raises InputError where the source cannot be used, StorageError where the disk refuses.
    """
    with progress(0, "file", "list"):
        listing = list_source(source)
    try:
        layout = match_layout(listing.names, listing.annotations, wanted)
    except InputError as error:
        raise InputError(str(error), where=source) from error
    check_space(scratch, 2 * len(layout.names) * size * size * 3)  # the spool, and the sets made from it
    pixel_file = PixelFile(scratch / "pixels", size, np.arange(len(layout.names)))
    with progress(len(layout.names), "image", "decode") as advance:
        digests, unreadable = Decoding(pixel_file, advance, options).run(source, layout)
    kept = np.flatnonzero([name not in unreadable for name in layout.names])
    return Source(
        images=pixel_file.take(kept),
        names=[layout.names[row] for row in kept],
        ids=hex_keys(digests[kept]),
        labels=layout.labels[kept],
        held=layout.held[kept],
        classes=layout.classes,
        unreadable=dict(sorted((layout.unplaced | unreadable).items())),
        ignored=dict(sorted(listing.ignored.items())),
        left_out=dict(sorted(layout.left_out.items())),
    )


def list_source(source: str) -> Listing:
    """Name every file of a source. Raises InputError for two files of one name."""
    listing = Listing()
    for entry in walk(source):
        ending = PurePosixPath(entry.name).suffix.lower()
        if is_hidden(entry.name):
            listing.ignored["hidden"] += 1
        elif ending in EXTENSIONS:
            if entry.name in listing.names:
                raise InputError("holds two files of one name", where=source, found=entry.name, remedy="Rename one.")
            listing.names.add(entry.name)
        else:
            listing.ignored[ending or "no ending"] += 1
            if entry.name.endswith(f"val/{ANNOTATIONS}"):
                listing.annotations[entry.name] = _read_text(entry)
    return listing


def _read_text(entry: Entry) -> str:
    content = entry.read()
    if len(content) > ANNOTATION_BYTES:
        raise InputError("is too long", where=entry.name, expected=f"at most {ANNOTATION_BYTES >> 20} MiB")
    return content.decode("utf-8", "backslashreplace")


def write_unreadable(unreadable: dict[str, str], path: Path, refuse: bool) -> None:
    """List every image that cannot be read, one a line. Raises InputError naming the list when they are refused."""
    if not unreadable:
        path.unlink(missing_ok=True)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{name}: {reason}\n" for name, reason in unreadable.items()), encoding="utf-8")
    if refuse:
        count = "1 image" if len(unreadable) == 1 else f"{len(unreadable):,} images"
        lines = [f"{name} {reason}" for name, reason in unreadable.items()]
        first = "; ".join(lines if len(lines) <= FIRST else [*lines[:FIRST], "..."])
        raise InputError(
            f"{count} cannot be read: {first}",
            remedy=f"All are listed in {path}: mend or delete them, or set prepare.unreadable to allow.",
        )


def publish(scratch: Path, out: Path, files: Collection[str]) -> None:
    """Move finished files into the output folder, and remove the sets there that are no longer made."""
    for stale in out.glob("*.h5"):
        if stale.name not in files:
            stale.unlink()
    for name in files:
        os.replace(scratch / name, out / name)
