"""Read a source of labelled images: list it, place it, then decode what is wanted into a spool of pixels.

The source is walked twice. The first walk only names files, so a wrong layout, a missing split or a full disk is
found before any work; the second decodes, in threads (Pillow lets go of the interpreter), each image into its own
place in one file on disk. Memory holds names, ids and labels, and a bounded number of images in flight.
"""

import os
import warnings
from collections import Counter, deque
from collections.abc import Callable, Collection
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import PIL

from cache.errors import InputError
from cache.layout import Array, hex_keys, row_digest
from cache.records import ImageSet
from cache.writer import check_space, storage_error
from pipeline.archive import Entry, Unreadable, is_hidden, walk
from pipeline.decode import EXTENSIONS, RULE, decode
from pipeline.places import ANNOTATIONS, Places, arrange

Progress = Callable[[int, str, str], AbstractContextManager[Callable[[int], object]]]

IN_FLIGHT = 64
IN_FLIGHT_BYTES = 256 << 20
ANNOTATION_BYTES = 64 << 20


@dataclass(frozen=True)
class Spool:
    """Pixels of images uint8 [size, size, 3], one a slot of a raw file; seen as the rows [n, size, size, 3] of `slots`.

    Read and written by position rather than mapped, so that pixels never count as this process's memory.
    """

    path: Path
    size: int
    slots: Array  # int [n]

    @property
    def shape(self) -> tuple[int, ...]:
        """[n, size, size, 3]."""
        return (len(self.slots), self.size, self.size, 3)

    @property
    def dtype(self) -> np.dtype[Any]:
        """uint8."""
        return np.dtype(np.uint8)

    def __len__(self) -> int:
        return len(self.slots)

    def __getitem__(self, index: Any) -> Array:
        slots = self.slots[index]
        rows = np.empty((len(slots), self.size, self.size, 3), dtype=np.uint8)
        with self.path.open("rb", buffering=0) as raw:
            for row, slot in zip(rows, slots, strict=True):
                raw.seek(int(slot) * row.nbytes)
                raw.readinto(row.data)
        return rows

    def take(self, index: Array) -> "Spool":
        """The chosen rows, still on disk."""
        return Spool(self.path, self.size, self.slots[index])


@dataclass(frozen=True)
class Listing:
    """What a source holds by name: images, files that are none (counted by ending), Tiny ImageNet's annotations."""

    names: set[str] = field(default_factory=set)
    ignored: Counter[str] = field(default_factory=Counter)
    annotations: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Gathered:
    """Everything read from a source. Columns [n] in the order of names; ids are the SHA-256 of the sized pixels.

    unreadable: images that are not among the rows, and why. ignored: files that are no images, by ending.
    """

    images: Spool
    names: list[str]
    ids: Array
    labels: Array
    held: Array
    classes: tuple[str, ...]
    unreadable: dict[str, str]
    ignored: dict[str, int]
    left_out: dict[str, int]

    def take(self, rows: Array) -> "Gathered":
        """The chosen rows, pixels still on disk."""
        columns = {name: getattr(self, name)[rows] for name in ("ids", "labels", "held")}
        return replace(self, images=self.images.take(rows), names=[self.names[row] for row in rows], **columns)

    def image_set(self, rows: Array) -> ImageSet:
        """The chosen rows as a set, pixels still on disk."""
        recipe = {"size": self.images.size, "size_rule": RULE, "decoder": f"pillow {PIL.__version__}"}
        return ImageSet(self.images.take(rows), self.labels[rows], self.ids[rows], self.classes, recipe=recipe)


def ingest(source: str, size: int, wanted: Collection[str], scratch: Path, progress: Progress) -> Gathered:
    """Read the images of the wanted official splits (and `train`) at a stored size into a spool in `scratch`.

    Raises InputError where the source cannot be used, StorageError where the disk refuses.
    """
    with progress(0, "file", "list"):
        listing = list_source(source)
    try:
        places = arrange(listing.names, listing.annotations, wanted)
    except InputError as error:
        raise InputError(str(error), where=source) from error
    check_space(scratch, 2 * len(places.names) * size * size * 3)  # the spool, and the sets made from it
    spool = Spool(scratch / "pixels", size, np.arange(len(places.names)))
    with progress(len(places.names), "image", "decode") as advance:
        digests, unreadable = _Decoding(spool, advance).run(source, places)
    kept = np.flatnonzero([name not in unreadable for name in places.names])
    return Gathered(
        images=spool.take(kept),
        names=[places.names[row] for row in kept],
        ids=hex_keys(digests[kept]),
        labels=places.labels[kept],
        held=places.held[kept],
        classes=places.classes,
        unreadable=dict(sorted((places.unplaced | unreadable).items())),
        ignored=dict(sorted(listing.ignored.items())),
        left_out=dict(sorted(places.left_out.items())),
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


class _Decoding:
    """One pass over a source that fills a spool, with a bounded number of images in flight."""

    def __init__(self, spool: Spool, advance: Callable[[int], object]) -> None:
        self._spool, self._advance = spool, advance
        self._digests = np.zeros((len(spool), 32), dtype=np.uint8)
        self._done = np.zeros(len(spool), dtype=bool)
        self._unreadable: dict[str, str] = {}
        self._waiting: deque[tuple[int, str, int, Future[bytes]]] = deque()
        self._waiting_bytes = 0

    def run(self, source: str, places: Places) -> tuple[Array, dict[str, str]]:
        """Digests uint8 [n, 32] by slot, and the images that cannot be read with their reasons."""
        slots = {places.prefix + name: slot for slot, name in enumerate(places.names)}
        with (
            warnings.catch_warnings(action="ignore"),  # Pillow warns of what is refused or mended here
            self._spool.path.open("wb", buffering=0) as raw,
            ThreadPoolExecutor(os.cpu_count()) as pool,
        ):
            for entry in walk(source):
                slot = slots.get(entry.name)
                if slot is not None:
                    self._start(pool, raw.fileno(), entry, slot, places.names[slot])
            while self._waiting:
                self._finish()
        if not self._done.all():
            missing = places.names[int(np.argmin(self._done))]
            raise InputError("changed while it was read", where=source, found=f"{missing} is gone", remedy="Run again.")
        return self._digests, self._unreadable

    def _start(self, pool: ThreadPoolExecutor, raw: int, entry: Entry, slot: int, name: str) -> None:
        read, length = entry.read, 0
        if not entry.anytime:
            try:
                content = entry.read()
            except Unreadable as error:
                self._refuse(slot, name, error)
                return
            read, length = (lambda: content), len(content)
        self._waiting.append((slot, name, length, pool.submit(self._store, raw, slot, read)))
        self._waiting_bytes += length
        while len(self._waiting) > IN_FLIGHT or self._waiting_bytes > IN_FLIGHT_BYTES:
            self._finish()

    def _store(self, raw: int, slot: int, read: Callable[[], bytes]) -> bytes:
        """In a thread: decode one image into its slot; return its digest."""
        row = decode(read(), self._spool.size)
        try:
            written = os.pwrite(raw, row.data, slot * row.nbytes)
        except OSError as error:
            raise storage_error(self._spool.path, error) from error
        if written != row.nbytes:
            check_space(self._spool.path.parent, row.nbytes * (len(self._spool) - slot))
        return row_digest(row)

    def _finish(self) -> None:
        slot, name, length, future = self._waiting.popleft()
        self._waiting_bytes -= length
        try:
            self._digests[slot] = np.frombuffer(future.result(), dtype=np.uint8)
            self._done[slot] = True
            self._advance(1)
        except Unreadable as error:
            self._refuse(slot, name, error)

    def _refuse(self, slot: int, name: str, error: Unreadable) -> None:
        self._unreadable[name] = str(error)
        self._done[slot] = True
        self._advance(1)


def write_unreadable(unreadable: dict[str, str], path: Path, refuse: bool) -> None:
    """List every image that cannot be read, one a line. Raises InputError naming the list when they are refused."""
    if not unreadable:
        path.unlink(missing_ok=True)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{name}: {reason}\n" for name, reason in unreadable.items()), encoding="utf-8")
    if refuse:
        first = "; ".join(f"{name} {reason}" for name, reason in list(unreadable.items())[:3])
        raise InputError(
            f"{len(unreadable):,} images cannot be read: {first}{'; ...' if len(unreadable) > 3 else ''}",
            remedy=f"All are listed in {path}: mend or delete them, or set prepare.unreadable to allow.",
        )


def publish(scratch: Path, out: Path, files: Collection[str]) -> None:
    """Move finished files into the output folder, and remove the sets there that are no longer made."""
    for stale in out.glob("*.h5"):
        if stale.name not in files:
            stale.unlink()
    for name in files:
        os.replace(scratch / name, out / name)
