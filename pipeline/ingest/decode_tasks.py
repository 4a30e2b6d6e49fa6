"""Decode a folder of images in tasks, on this machine or on a cluster: each writes part files of its images."""

import os
import socket
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import PIL

from cache.errors import RecordError, StorageError
from cache.layout import Array, hex_keys, row_digests
from cache.parts import PartStore, read_part
from cache.stored_rows import GatheredRows, StoredRows
from pipeline.ingest.archive import Unreadable, read_file
from pipeline.ingest.class_groups import Group
from pipeline.ingest.decode import DecodeOptions, decode_image
from pipeline.ingest.layouts import Layout
from pipeline.ingest.listing import Listing
from pipeline.ingest.pixel_file import DecodedSource
from pipeline.runtime.task import is_worker
from pipeline.runtime.threads import usable_threads
from pipeline.runtime.workers import Pool


@dataclass(frozen=True)
class DecodedGroup:
    """What a task has decoded. sides: int [k, 2], of all images of the group; see Decoding.

    parts: the rows of each part file, and the slots of these images. unreadable: by name, with the reason.
    """

    group: Group
    sides: Array
    parts: tuple[tuple[Array, StoredRows], ...]
    unreadable: dict[str, str]


@dataclass(frozen=True)
class DecodeTask:
    """Decode the images of a group. paths: of the files, below root. store: where part files go."""

    group: Group
    names: tuple[str, ...]
    paths: tuple[str, ...]
    root: str
    size: int
    options: DecodeOptions
    store: PartStore
    decoder: str = PIL.__version__

    def read(self) -> None:
        """Nothing: photos are read as they are decoded, because many at once may not fit into memory."""

    def compute(self, _: None) -> tuple[Array, Array, dict[str, str]]:
        """Pixels uint8 [k, size, size, 3], black if unreadable, sides int [k, 2], and the reasons.

        Beside other tasks by this thread alone, else by one thread per processor. Raises RecordError on a machine with
        another decoder.
        """
        if self.decoder != PIL.__version__:
            remedy = "Give the cluster workers with the same libraries as this machine."
            where = f"{socket.gethostname()} pillow"
            raise RecordError(
                "worker differs", where=where, expected=self.decoder, found=PIL.__version__, remedy=remedy
            )
        rows = np.zeros((len(self.names), self.size, self.size, 3), dtype=np.uint8)
        sides = np.zeros((len(rows), 2), dtype=np.int64)
        with (
            warnings.catch_warnings(action="ignore"),  # Pillow warns about what is refused or mended here
            ThreadPoolExecutor(1 if is_worker() else usable_threads()) as threads,
        ):
            reasons = list(threads.map(lambda number: self._decode(number, rows, sides), range(len(rows))))
        unreadable = {name: reason for name, reason in zip(self.names, reasons, strict=True) if reason}
        return rows, sides, unreadable

    def _decode(self, number: int, rows: Array, sides: Array) -> str:
        """Decode one image into its row; why it cannot be read, empty if it can."""
        try:
            content = read_file(os.path.join(self.root, self.paths[number]), self.root)
            decoded = decode_image(content, self.size, self.options, self.names[number])
        except Unreadable as error:
            return str(error)
        rows[number] = decoded.pixels
        sides[number] = decoded.sides
        return ""

    def write(self, decoded: tuple[Array, Array, dict[str, str]]) -> DecodedGroup:
        """Write part files. Raises StorageError."""
        rows, sides, unreadable = decoded
        if not self.store.folder.is_dir():
            where = self.store.folder
            remedy = "Put the data folder on a disk that all workers share."
            raise StorageError(f"{socket.gethostname()} does not see the folder", where=where, remedy=remedy)
        readable = np.flatnonzero([name not in unreadable for name in self.names])
        keys = np.zeros(len(rows), dtype="S64")
        keys[readable] = hex_keys(row_digests(rows[readable] if unreadable else rows))
        order = self.group.order
        parts = [readable] if order is None else order.parts(keys[readable], readable)
        written = tuple((self.group.slots[part], self._write(keys[part], rows[part])) for part in parts if len(part))
        return DecodedGroup(self.group, sides, written, unreadable)

    def _write(self, keys: Array, rows: Array) -> StoredRows:
        return read_part(self.store.write(keys, rows), self.store.recipe).rows


@dataclass(frozen=True)
class FolderFiles:
    """The files of a layout, in its order. names: of the layout; paths: where they lie below root."""

    root: str
    names: Sequence[str]
    paths: Sequence[str]

    @classmethod
    def of(cls, source: str, layout: Layout, listing: Listing) -> "FolderFiles | None":
        """The files of a folder; None if images lie in other files, or have a name that is not plain text."""
        if not listing.is_of_files:
            return None
        paths = [listing.spelled(layout.prefix + name) for name in layout.names]
        if any("\\" in path for path in paths):
            return None
        return cls(os.path.realpath(Path(source).expanduser()), layout.names, paths)

    def task(self, group: Group, size: int, options: DecodeOptions, store: PartStore) -> DecodeTask:
        """The task of decoding some of the files."""
        slots = group.slots.tolist()
        names = tuple(self.names[slot] for slot in slots)
        paths = tuple(self.paths[slot] for slot in slots)
        return DecodeTask(group, names, paths, self.root, size, options, store)


def decode_in_tasks(tasks: Sequence[DecodeTask], pool: Pool, advance: Callable[[int], object]) -> DecodedSource:
    """All images of a layout, which these tasks share out."""
    count = sum(len(task.group.slots) for task in tasks)
    sides = np.zeros((count, 2), dtype=np.int64)
    unreadable: dict[str, str] = {}
    parts: list[tuple[Array, StoredRows]] = []
    tasks[0].store.folder.mkdir(exist_ok=True)
    for decoded in pool.run(tasks):
        sides[decoded.group.slots] = decoded.sides
        parts += decoded.parts
        unreadable.update(decoded.unreadable)
        advance(len(decoded.group.slots))
    slots = np.concatenate([np.empty(0, dtype=np.int64), *(slots for slots, _ in parts)])
    rows = GatheredRows(tuple(rows for _, rows in parts), np.argsort(slots))
    return DecodedSource(rows, np.sort(slots), sides, unreadable, frozenset(part.path for _, part in parts))
