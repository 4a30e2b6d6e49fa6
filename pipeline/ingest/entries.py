"""One file of a source, wherever it lies."""

from collections.abc import Callable
from dataclasses import dataclass

from cache.errors import InputError


class Unreadable(InputError):
    """One file cannot be read as an image; the others can go on."""


@dataclass(frozen=True)
class Entry:
    """One file. `read()` gives its bytes, `read(most)` the first of them, or raises Unreadable; call it before the next
    entry is asked for.

    name is in Unicode's NFC, spelling as the source has it. If `anytime` is true, `read` may be called at any time and
    in any thread. path: of a file in a folder; empty in an archive.
    """

    name: str
    read: Callable[..., bytes]
    anytime: bool = False
    spelling: str = ""
    path: str = ""


def first_bytes(content: bytes, most: int | None = None) -> bytes:
    """All bytes, or the first of them: what `Entry.read` does with bytes in memory."""
    return content[:most]
