"""The bytes of a packed tar archive, unpacked forward only and within bounds: what `tarfile` reads from."""

import bz2
import gzip
import io
import lzma
import tarfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, cast

from cache.errors import InputError
from cache.files import check_space, storage_error

if TYPE_CHECKING:
    from typing_extensions import Buffer

MEMBERS = 20_000_000
MEMBER_BYTES = 256 << 20
RATIO = 200  # images hardly compress; 200 is far beyond any honest archive of them
RATIO_FREE = 1 << 30  # unpacked bytes below which the ratio is not checked
CHUNK = 1 << 20
XZ_MEMORY = 1 << 30
END_OF_TAR = b"\0" * 512


def check_members(path: Path, members: int) -> None:
    """Raise InputError for more members than any archive of images has."""
    if members > MEMBERS:
        raise InputError("holds too many members", where=path, expected=f"at most {MEMBERS:,}", found=f"{members:,}")


def check_unpacked(path: Path, packed: int, unpacked: int) -> None:
    """Raise InputError for an archive that unpacks to more bytes than images can."""
    if unpacked > max(RATIO_FREE, RATIO * packed):
        remedy = "This is no archive of images."
        raise InputError(f"unpacks to more than {RATIO} times its size", where=path, remedy=remedy)


class _Unpacked(io.RawIOBase):
    """The content of an .xz or .bz2 file, in large steps and (xz) with bounded memory, unlike `lzma.open`."""

    def __init__(self, path: Path, make: Callable[[], lzma.LZMADecompressor | bz2.BZ2Decompressor]) -> None:
        self._file = path.open("rb")
        self._make = make
        self._unpacker = make()

    def readable(self) -> bool:
        return True

    def close(self) -> None:
        self._file.close()
        super().close()

    def readinto(self, buffer: "Buffer") -> int:
        view = memoryview(buffer)
        unpacked = b""
        while not unpacked:
            packed = b""
            if self._unpacker.eof:  # several may follow each other in one file, .xz with zeros between them
                packed = (self._unpacker.unused_data or self._file.read(CHUNK)).lstrip(b"\0")
                if not packed:
                    return 0
                self._unpacker = self._make()
            elif self._unpacker.needs_input:
                packed = self._file.read(CHUNK)
                if not packed:
                    raise EOFError("it is cut short")
            unpacked = self._unpacker.decompress(packed, len(view))
        view[: len(unpacked)] = unpacked
        return len(unpacked)


UNPACKERS: dict[bytes, Callable[[Path], object]] = {
    b"\xfd7zXZ\0": partial(_Unpacked, make=partial(lzma.LZMADecompressor, memlimit=XZ_MEMORY)),
    b"BZh": partial(_Unpacked, make=bz2.BZ2Decompressor),
    b"\x1f\x8b": gzip.open,
}


class Spool:
    """The unpacked bytes of an archive on disk. Raises StorageError if the disk refuses."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._file = path.open("wb")
        except OSError as error:
            raise storage_error(path, error) from error

    def write(self, content: bytes) -> None:
        """Add bytes."""
        try:
            self._file.write(content)
        except OSError as error:
            raise storage_error(self._path, error) from error

    def close(self) -> None:
        """Write out what is buffered."""
        try:
            self._file.close()
        except OSError as error:
            raise storage_error(self._path, error) from error


class TarStream:
    """The unpacked bytes of a tar archive, forward only and bounded: what `tarfile` reads from.

    spool: a file that gets the unpacked bytes of a packed archive, for who will read them again.
    """

    def __init__(self, path: Path, magic: bytes, spool: Path | None = None) -> None:
        self._path = path
        self._packed = path.stat().st_size
        self._position = 0
        self._last = b""
        unpack = next((unpack for start, unpack in UNPACKERS.items() if magic.startswith(start)), None)
        self._seekable = unpack is None
        raw = path.open("rb", buffering=0) if unpack is None else cast(io.RawIOBase, unpack(path))
        self._file = io.BufferedReader(raw, CHUNK)
        self._spool: Spool | None = None
        if spool is not None and not self._seekable:
            check_space(spool.parent, self._packed)  # it unpacks to no less
            self._spool = Spool(spool)

    def __enter__(self) -> "TarStream":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        if self._spool is not None:
            self._spool.close()

    def tell(self) -> int:
        return self._position

    def read(self, size: int) -> bytes:
        if not 0 <= size <= MEMBER_BYTES:
            raise tarfile.ReadError(f"a header asks for {size:,} bytes")
        self._last = self._file.read(size)
        self._position += len(self._last)
        if self._spool is not None:
            self._spool.write(self._last)
        check_unpacked(self._path, self._packed, self._position)
        return self._last

    def seek(self, position: int) -> None:
        if position < self._position:
            raise tarfile.ReadError("its members overlap")
        if self._seekable:
            self._position = self._file.seek(position)
        while self._position < position and self.read(min(CHUNK, position - self._position)):
            pass

    def finish(self) -> None:
        """Make sure that the archive ended where its last member did: `tarfile` stops quietly at damage."""
        if self._last != END_OF_TAR:
            raise EOFError(f"it ends or breaks at byte {self._position:,} of what it unpacks to")
        while rest := self.read(CHUNK):
            if rest.strip(b"\0"):
                raise tarfile.ReadError("more follows after its end; was it put together from several archives?")
