"""Files of any kind: complete or absent, disk space checked first, and the reason given when the disk refuses."""

import errno
import os
import shutil
import socket
import threading
from contextlib import suppress
from pathlib import Path

from cache.errors import StorageError

FULL = "Free some space and run the same command again: finished work is kept."


def write_text(path: Path, text: str) -> None:
    """A small text file, complete or absent; see `write_bytes`."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """A small file, complete or absent: never in place, because DVC may hold a hard link to the old one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(partial_name(path))
    try:
        with partial.open("wb") as file:
            file.write(content)
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError as error:
        raise storage_error(path, error, len(content)) from error
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


def partial_name(path: Path) -> str:
    """The name that a file has until it is complete: it says who writes it."""
    return f"{path.name}.{socket.gethostname()}.{os.getpid()}.{threading.get_ident()}.partial"


def remove_others(folder: Path, wanted: set[Path], pattern: str = "*.h5") -> None:
    """Remove files that are no longer wanted; they would still feed whatever reads the folder."""
    for path in folder.glob(pattern):
        if path not in wanted:
            path.unlink()


def check_space(folder: Path, needed: int) -> None:
    """Refuse before work starts when the disk under `folder` has less than `needed` bytes free."""
    free = free_space(folder)
    if free < needed:
        raise StorageError(
            "too little disk space",
            where=folder,
            expected=f"{needed / 2**20:,.1f} MiB free",
            found=f"{free / 2**20:,.1f} MiB",
            remedy=FULL,
        )


def free_space(folder: Path) -> int:
    """Bytes that are free on the disk under `folder`, which need not exist yet."""
    existing = folder
    while not existing.exists():
        existing = existing.parent
    return shutil.disk_usage(existing).free


def storage_error(path: Path, error: OSError, needed: int = 0) -> StorageError:
    """A StorageError with the remedy that fits the operating system's reason. needed: bytes that must be free."""
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    remedies = {
        errno.EROFS: "Choose a folder that can be written to.",
        errno.EACCES: "Choose a folder that can be written to, or change its permissions.",
        errno.ENOENT: "It went away while it was in use: run the same command again.",
    }
    return StorageError(
        f"cannot write: {os.strerror(error.errno) if error.errno else error}",
        where=path,
        expected=f"{needed / 2**20:,.1f} MiB free" if full and needed else None,
        remedy=FULL if full else remedies.get(error.errno or 0, ""),
    )


def sync_folder(folder: Path) -> None:
    """Make a rename in `folder` last through a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_stale(folder: Path) -> int:
    """Remove `.partial` files of this machine's dead processes, and count them; another machine's are left to it."""
    stale = [path for path in folder.glob(f"*.{socket.gethostname()}.*.partial") if not _alive(_owner(path))]
    for partial in stale:
        partial.unlink(missing_ok=True)
    return len(stale)


def _owner(partial: Path) -> int:
    """The process that writes `<name>.<host>.<process>.<thread>.partial`; this one where the name says none."""
    process = partial.name.split(".")[-3]
    return int(process) if process.isdecimal() else os.getpid()


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
