"""Decode a folder of images on a cluster: each task fills one file of pixels, on a disk that all machines share."""

import os
import socket
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import PIL

from cache.errors import RecordError, StorageError
from cache.files import storage_error
from cache.layout import Array, row_digests
from pipeline.ingest.archive import Unreadable, read_file
from pipeline.ingest.decode import DecodeOptions, decode_image
from pipeline.ingest.layouts import Layout
from pipeline.ingest.listing import Listing
from pipeline.ingest.pixel_file import PixelFile
from pipeline.runtime.workers import Pool

TASK_BYTES = 64 << 20  # of pixels
MOST = 1024  # images


@dataclass(frozen=True)
class DecodedFiles:
    """What a task has decoded. digests: uint8 [k, 32], from slot `start` on, and sides: see Decoding.

    unreadable: by name, with the reason.
    """

    start: int
    digests: Array
    sides: Array
    unreadable: dict[str, str]


@dataclass(frozen=True)
class DecodeTask:
    """Decode the images of neighbouring slots, which are those of the pixel file. paths: of the files, below root."""

    start: int
    names: tuple[str, ...]
    paths: tuple[str, ...]
    root: str
    pixel_file: PixelFile
    options: DecodeOptions
    decoder: str = PIL.__version__

    def read(self) -> None:
        """Nothing: photos are read one after the other, because many at once may not fit into memory."""

    def compute(self, _: None) -> tuple[Array, Array, dict[str, str]]:
        """Pixels uint8 [k, size, size, 3], black if unreadable, sides int [k, 2], and the reasons."""
        if self.decoder != PIL.__version__:
            remedy = "Give the cluster workers with the same libraries as this machine."
            where = f"{socket.gethostname()} pillow"
            raise RecordError(
                "worker differs", where=where, expected=self.decoder, found=PIL.__version__, remedy=remedy
            )
        size = self.pixel_file.size
        rows = np.zeros(self.pixel_file.shape, dtype=np.uint8)
        sides = np.zeros((len(rows), 2), dtype=np.int64)
        unreadable: dict[str, str] = {}
        with warnings.catch_warnings(action="ignore"):  # Pillow warns about what is refused or mended here
            for number, (name, path) in enumerate(zip(self.names, self.paths, strict=True)):
                try:
                    content = read_file(os.path.join(self.root, path), self.root)
                    decoded = decode_image(content, size, self.options, name)
                    rows[number] = decoded.pixels
                    sides[number] = decoded.sides
                except Unreadable as error:
                    unreadable[name] = str(error)
        return rows, sides, unreadable

    def write(self, decoded: tuple[Array, Array, dict[str, str]]) -> DecodedFiles:
        """Write the pixels. Raises StorageError."""
        rows, sides, unreadable = decoded
        path = self.pixel_file.path_of(self.start)
        try:
            with path.open("wb") as file:
                file.write(rows.data)
        except FileNotFoundError as error:
            remedy = "Put the data folder on a disk that all workers share."
            raise StorageError(
                f"{socket.gethostname()} does not see the folder", where=path.parent, remedy=remedy
            ) from error
        except OSError as error:
            raise storage_error(path, error) from error
        return DecodedFiles(self.start, row_digests(rows), sides, unreadable)


@dataclass(frozen=True)
class FolderFiles:
    """The files of a layout, in its order. names: of the layout; paths: where they lie below root."""

    root: str
    names: Sequence[str]
    paths: Sequence[str]

    @classmethod
    def of(cls, source: str, layout: Layout, listing: Listing) -> "FolderFiles | None":
        """The files of a folder; None if it is none, or holds a name that is not plain text and so no path."""
        folder = Path(source).expanduser()
        paths = [listing.spelled(layout.prefix + name) for name in layout.names]
        if not folder.is_dir() or any("\\" in path for path in paths):
            return None
        return cls(os.path.realpath(folder), layout.names, paths)


def decode_on_cluster(
    files: FolderFiles, pixel_file: PixelFile, options: DecodeOptions, pool: Pool, advance: Callable[[int], object]
) -> tuple[PixelFile, Array, Array, dict[str, str]]:
    """The pixels in files of several, digests uint8 [n, 32] and sides int [n, 2] by slot, and what cannot be read."""
    step = min(MOST, max(1, TASK_BYTES // (pixel_file.size**2 * 3)))
    parted = replace(pixel_file, per_file=step)
    tasks = [
        DecodeTask(
            start,
            tuple(files.names[start : start + step]),
            tuple(files.paths[start : start + step]),
            files.root,
            replace(parted, slots=parted.slots[start : start + step]),
            options,
        )
        for start in range(0, len(files.names), step)
    ]
    digests = np.zeros((len(files.names), 32), dtype=np.uint8)
    sides = np.zeros((len(files.names), 2), dtype=np.int64)
    unreadable: dict[str, str] = {}
    for decoded in pool.run(tasks):
        slots = slice(decoded.start, decoded.start + len(decoded.digests))
        digests[slots] = decoded.digests
        sides[slots] = decoded.sides
        unreadable.update(decoded.unreadable)
        advance(len(decoded.digests))
    return parted, digests, sides, unreadable
