"""Walk a folder, an archive or the embedded digits as one stream of entries. Nothing is ever extracted to disk.

Archives are untrusted. An archive is refused if it has names that are absolute or climb (`..`), encrypted members, two
members of one name, more than `MEMBERS` members, more than `RATIO` times its own size once unpacked, or no end.
Links, devices and members above `MEMBER_BYTES` are single files that cannot be read. In folders, links to files inside
the folder and to files of DVC's cache are followed, other links are files that cannot be read, links to folders are
refused. A folder that holds nothing but .tar files is read as the shards of one data set.
"""

import io
import lzma
import os
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import BinaryIO, cast

from cache.errors import InputError
from pipeline.ingest.dvc_links import lies_in_dvc_cache
from pipeline.ingest.entries import Entry, Unreadable, first_bytes
from pipeline.ingest.names import escaped, is_hidden, printable, safe_name, zip_name
from pipeline.ingest.packed_sets import unpacked
from pipeline.ingest.tar_stream import MEMBER_BYTES, TarStream, check_members, check_unpacked

__all__ = ["Entry", "Unreadable", "read_file", "walk"]

ACCEPTED = "a folder, .zip, .tar, .tar.gz, .tar.bz2, .tar.xz, or pipeline/digits.txt"
DAMAGE = (
    *(tarfile.TarError, zipfile.BadZipFile, lzma.LZMAError, zlib.error, EOFError, OSError, ValueError),
    *(LookupError, ArithmeticError, RecursionError, NotImplementedError),
)


BESIDE_SHARDS = (".json", ".txt", ".md", ".csv", ".tsv", ".idx", "")
TABLES = (".csv", ".tsv", ".jsonl", ".xlsx")


def _ignore(name: str) -> None:
    """Nobody asked for the names of folders."""


def walk(source: str, on_folder: Callable[[str], object] = _ignore, spool: Path | None = None) -> Iterator[Entry]:
    """Every file of a source; `on_folder` is told the name of every folder, the empty ones too.

    spool: a file to which a packed tar archive is unpacked on the way. It can be walked instead of the archive, which
    then need not be unpacked twice; other sources leave no such file.

    Files of packed data sets (`packed_sets`) are entries for each image in them. Raises InputError if there is no such
    source or it cannot be trusted.
    """
    return _walk_digits() if source == "digits" else unpacked(_walk_files(source, on_folder, spool))


def _walk_files(source: str, on_folder: Callable[[str], object], spool: Path | None) -> Iterator[Entry]:
    path = Path(source).expanduser()
    if path.is_dir():
        shards = _shards(path)
        return _walk_shards(shards, on_folder) if shards else _walk_folder(path, on_folder)
    if not path.is_file():
        raise InputError("no such folder or archive", where=source, expected=ACCEPTED, remedy="Check prepare.source.")
    if path.suffix.lower() in TABLES:
        remedy = "Name the folder in prepare.source, and the table in prepare.labels."
        raise InputError("is a table of labels, not a folder of images", where=source, remedy=remedy)
    magic = _magic(path)
    if magic[:4] in (b"PK\x03\x04", b"PK\x05\x06"):
        return _walk_zip(path, on_folder)
    return _walk_tar(path, magic, on_folder, spool)


def _magic(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(8)
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", where=path) from error


def _shards(folder: Path) -> list[Path]:
    """The .tar files of a folder that holds nothing else but their descriptions; empty for any other folder."""
    try:
        inside = [path for path in sorted(folder.iterdir()) if not is_hidden(path.name)]
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", where=printable(str(folder))) from error
    shards = [path for path in inside if path.suffix.lower() == ".tar" and path.is_file()]
    others = [path for path in inside if path not in shards] if shards else []
    are_described = all(path.suffix.lower() in BESIDE_SHARDS and path.is_file() for path in others)
    return shards if are_described else []


def _walk_shards(shards: list[Path], on_folder: Callable[[str], object]) -> Iterator[Entry]:
    """The members of each, as if they lay in a folder with the shard's name."""
    for path in shards:
        stem = printable(escaped(path.stem))
        for entry in _walk_tar(path, _magic(path), lambda name, stem=stem: on_folder(f"{stem}/{name}"), None):  # type: ignore[misc]
            yield replace(entry, name=f"{stem}/{entry.name}", spelling=f"{stem}/{entry.spelling}")


def _walk_digits() -> Iterator[Entry]:
    """scikit-learn's 1,797 handwritten digits, 8x8 grey 0 to 16, as PNG files in ten class folders."""
    import numpy as np
    from PIL import Image
    from sklearn.datasets import load_digits

    digits = load_digits()
    for number, (image, label) in enumerate(zip(digits.images, digits.target, strict=True)):
        png = io.BytesIO()
        Image.fromarray(np.rint(image * (255 / 16)).astype(np.uint8)).save(png, "PNG")
        yield Entry(f"{label}/{number:04d}.png", partial(first_bytes, png.getvalue()))


def _walk_folder(folder: Path, on_folder: Callable[[str], object]) -> Iterator[Entry]:
    root = os.path.realpath(folder)
    waiting = [root]
    while waiting:
        place = waiting.pop()
        try:
            with os.scandir(place) as items:
                inside = sorted(items, key=lambda item: item.name)
        except OSError as error:
            raise InputError(f"cannot be read: {error.strerror}", where=printable(place)) from error
        for item in inside:
            spelling = escaped(item.path[len(root) :].lstrip("/"))
            name = printable(spelling)
            if item.is_dir(follow_symlinks=False):
                waiting.append(item.path)
                on_folder(name)
            elif item.is_symlink() and os.path.isdir(item.path) and not is_hidden(name):
                remedy = "Put the images themselves there, or name the folder that it leads to."
                raise InputError("is a link to a folder, which is not followed", where=name, remedy=remedy)
            else:
                yield Entry(name, partial(read_file, item.path, root), anytime=True, spelling=spelling, path=item.path)


def read_file(path: str, root: str, most: int = MEMBER_BYTES) -> bytes:
    """The bytes of a regular file that lies below `root`, `most` of them at most. Raises Unreadable."""
    if os.path.islink(path):
        target = os.path.realpath(path)
        if not target.startswith(os.path.join(root, "")) and not lies_in_dvc_cache(target, root):
            raise Unreadable("is a link that leads out of the folder")
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:  # a pipe must not hold us up
            status = os.fstat(file.fileno())
            _check_readable(stat.S_ISREG(status.st_mode), status.st_size)
            return file.read(most)
    except OSError as error:
        raise Unreadable(f"cannot be opened: {error.strerror}") from error


def _check_readable(regular: bool, size: int) -> None:
    if not regular:
        raise Unreadable("is a link or a device, not a file")
    if size > MEMBER_BYTES:
        raise Unreadable(f"is larger than {MEMBER_BYTES >> 20} MiB")


def _walk_zip(path: Path, on_folder: Callable[[str], object]) -> Iterator[Entry]:
    with _refusing(path), zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        check_members(path, len(members))
        check_unpacked(path, path.stat().st_size, sum(member.file_size for member in members))
        for member in members:
            if member.flag_bits & 1:
                raise InputError("is encrypted", where=path, remedy="Pack it again without a password.")
            name = zip_name(member)
            if name.endswith("/"):
                on_folder(printable(name).strip("/"))
            else:
                spelling = safe_name(path, name)
                yield Entry(printable(spelling), partial(_read_zipped, archive, member), spelling=spelling)


def _read_zipped(archive: zipfile.ZipFile, member: zipfile.ZipInfo, most: int = MEMBER_BYTES) -> bytes:
    _check_readable(stat.S_IFMT(member.external_attr >> 16) in (0, stat.S_IFREG), member.file_size)
    try:
        with archive.open(member) as file:
            return file.read(most)
    except (*DAMAGE, RuntimeError) as error:
        raise Unreadable(f"cannot be unpacked: {error}") from error


def _walk_tar(path: Path, magic: bytes, on_folder: Callable[[str], object], spool: Path | None) -> Iterator[Entry]:
    with _refusing(path), TarStream(path, magic, spool) as stream:
        with tarfile.open(fileobj=cast(BinaryIO, stream), mode="r:") as tar:
            number = 0
            while (member := tar.next()) is not None:
                tar.members.clear()  # type: ignore[attr-defined]  # else it keeps every member that it ever saw
                number += 1
                check_members(path, number)
                spelling = safe_name(path, member.name)
                if member.isdir():
                    on_folder(printable(spelling))
                else:
                    yield Entry(printable(spelling), partial(_read_packed, path, stream, member), spelling=spelling)
        stream.finish()


def _read_packed(path: Path, stream: TarStream, member: tarfile.TarInfo, most: int = MEMBER_BYTES) -> bytes:
    _check_readable(member.isreg() and not member.issparse(), member.size)
    with _refusing(path):
        stream.seek(member.offset_data)
        content = stream.read(min(member.size, most))
        if len(content) < min(member.size, most):
            raise EOFError("it ends inside a member")
        return content


@contextmanager
def _refusing(path: Path) -> Iterator[None]:
    """Turn what a damaged archive can raise into one line."""
    try:
        yield
    except DAMAGE as error:
        raise InputError(
            f"is damaged, cut short, or no archive: {error}", where=path, expected=ACCEPTED, remedy="Fetch it again."
        ) from error
