"""Pixels on their way from any source to sets: one raw file on disk, filled by threads, read back as lazy rows."""

import errno
import os
import warnings
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cache.errors import InputError
from cache.files import storage_error
from cache.layout import Array, row_digest
from cache.stored_rows import GatheredRows, StoredRows
from pipeline.ingest.archive import Entry, Unreadable, walk
from pipeline.ingest.decode import DecodeOptions, decode_image
from pipeline.ingest.layouts import Layout
from pipeline.runtime.threads import usable_threads

IN_FLIGHT = 64
SQUARE = 1.02  # longer to shorter side, up to which an image counts as square
IN_FLIGHT_BYTES = 256 << 20


@dataclass(frozen=True)
class DecodedSource:
    """What was decoded of a layout of n images.

    rows: of the images that can be read, on disk, in the order of the layout. slots: int [r], their numbers in the
    layout. sides: int [n, 2], width and height of each image before it was made square, 0 if it cannot be read.
    unreadable: by name, with the reason. new_parts: part files that were written of them.
    """

    rows: GatheredRows
    slots: Array
    sides: Array
    unreadable: dict[str, str]
    new_parts: frozenset[Path] = frozenset()


class Decoding:
    """One pass over a source that fills a raw file, a place per image, with a bounded number of images in flight.

    Read and written by position rather than mapped, so that pixels never count as this process's memory.
    """

    def __init__(
        self, path: Path, size: int, advance: Callable[[int], object], options: DecodeOptions | None = None
    ) -> None:
        self._path = path
        self._size = size
        self._advance = advance
        self._options = options
        self._digests = np.zeros((0, 32), dtype=np.uint8)
        self._done = np.zeros(0, dtype=bool)
        self._sides = np.zeros((0, 2), dtype=np.int64)
        self._unreadable: dict[str, str] = {}
        self._waiting: deque[tuple[int, str, int, Future[bytes]]] = deque()
        self._waiting_bytes = 0

    def run(self, source: str, layout: Layout) -> DecodedSource:
        """Decode the images of a layout. Raises InputError if the source has changed, StorageError."""
        count = len(layout.names)
        self._digests = np.zeros((count, 32), dtype=np.uint8)
        self._done = np.zeros(count, dtype=bool)
        self._sides = np.zeros((count, 2), dtype=np.int64)
        self._decode(source, layout)
        slots = np.flatnonzero([name not in self._unreadable for name in layout.names])
        shape = (count, self._size, self._size, 3)
        rows = StoredRows(self._path, 0, shape, np.dtype(np.uint8), self._digests)
        return DecodedSource(GatheredRows((rows,), slots), slots, self._sides, self._unreadable)

    def _decode(self, source: str, layout: Layout) -> None:
        slots = {layout.prefix + name: slot for slot, name in enumerate(layout.names)}
        with (
            warnings.catch_warnings(action="ignore"),  # Pillow warns about what is refused or mended here
            self._path.open("wb", buffering=0) as raw,
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
        decoded = decode_image(read(), self._size, self._options, name)
        row = decoded.pixels
        self._sides[slot] = decoded.sides
        try:
            if os.pwrite(raw, row.data, slot * row.nbytes) != row.nbytes:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            raise storage_error(self._path, error) from error
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
