"""Pixels on their way from files to sets: one raw file on disk, filled by threads, read back as lazy rows."""

import errno
import os
import warnings
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from cache.errors import InputError, StorageError
from cache.files import storage_error
from cache.layout import Array, row_digest
from pipeline.ingest.archive import Entry, Unreadable, walk
from pipeline.ingest.decode import DecodeOptions, decode_image
from pipeline.ingest.layouts import Layout
from pipeline.runtime.threads import usable_threads

IN_FLIGHT = 64
SQUARE = 1.02  # longer to shorter side, up to which an image counts as square
IN_FLIGHT_BYTES = 256 << 20


@dataclass(frozen=True)
class PixelFile:
    """Pixels of images uint8 [size, size, 3], one per slot of a raw file, seen as the rows of `slots`.

    per_file: how many slots a file has, if each file is written by another machine; `path` is then the start of their
    names. Read and written by position rather than mapped, so that pixels never count as this process's memory.
    """

    path: Path
    size: int
    slots: Array  # int [n]
    per_file: int | None = None

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
        for path, places in groupby(zip(rows, slots.tolist(), strict=True), lambda place: self.path_of(place[1])):
            with path.open("rb", buffering=0) as raw:
                for row, slot in places:
                    raw.seek((slot if self.per_file is None else slot % self.per_file) * row.nbytes)
                    if raw.readinto(row.data) != row.nbytes:
                        raise StorageError("is cut short", where=path, remedy="Run the same command again.")
        return rows

    def path_of(self, slot: int) -> Path:
        """The file that a slot lies in."""
        return self.path if self.per_file is None else self.path.with_name(f"{self.path.name}-{slot // self.per_file}")

    def take(self, index: Array) -> "PixelFile":
        """The chosen rows, still on disk."""
        return replace(self, slots=self.slots[index])


class Decoding:
    """One pass over a source that fills a pixel file, with a bounded number of images in flight.

    sides: int [n, 2], width and height of each image before it was made square; 0 if it cannot be read.
    """

    def __init__(
        self, pixel_file: PixelFile, advance: Callable[[int], object], options: DecodeOptions | None = None
    ) -> None:
        self._pixel_file = pixel_file
        self._advance = advance
        self._options = options
        self._digests = np.zeros((len(pixel_file), 32), dtype=np.uint8)
        self._done = np.zeros(len(pixel_file), dtype=bool)
        self.sides = np.zeros((len(pixel_file), 2), dtype=np.int64)
        self._unreadable: dict[str, str] = {}
        self._waiting: deque[tuple[int, str, int, Future[bytes]]] = deque()
        self._waiting_bytes = 0

    def run(self, source: str, layout: Layout) -> tuple[Array, dict[str, str]]:
        """Digests uint8 [n, 32] by slot, and the images that cannot be read with their reasons."""
        slots = {layout.prefix + name: slot for slot, name in enumerate(layout.names)}
        with (
            warnings.catch_warnings(action="ignore"),  # Pillow warns about what is refused or mended here
            self._pixel_file.path.open("wb", buffering=0) as raw,
            ThreadPoolExecutor(usable_threads()) as pool,
        ):
            for entry in walk(source):
                slot = slots.get(entry.name)
                if slot is not None:
                    self._start(pool, raw.fileno(), entry, slot, layout.names[slot])
            while self._waiting:
                self._finish()
        if not self._done.all():
            missing = layout.names[int(np.argmin(self._done))]
            raise InputError("changed while it was read", where=source, found=f"{missing} is gone", remedy="Run again.")
        return self._digests, self._unreadable

    def _start(self, pool: ThreadPoolExecutor, raw: int, entry: Entry, slot: int, name: str) -> None:
        read = entry.read
        length = 0
        if not entry.anytime:
            try:
                content = entry.read()
            except Unreadable as error:
                self._refuse(slot, name, error)
                return
            read = lambda: content  # noqa: E731 - the bytes are here already
            length = len(content)
        self._waiting.append((slot, name, length, pool.submit(self._store, raw, slot, name, read)))
        self._waiting_bytes += length
        while len(self._waiting) > IN_FLIGHT or self._waiting_bytes > IN_FLIGHT_BYTES:
            self._finish()

    def _store(self, raw: int, slot: int, name: str, read: Callable[[], bytes]) -> bytes:
        """In a thread: decode one image into its slot; return its digest."""
        decoded = decode_image(read(), self._pixel_file.size, self._options, name)
        row = decoded.pixels
        self.sides[slot] = decoded.sides
        try:
            if os.pwrite(raw, row.data, slot * row.nbytes) != row.nbytes:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            raise storage_error(self._pixel_file.path, error) from error
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
