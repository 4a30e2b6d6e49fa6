"""Names of files and folders: of any encoding, as one line of text that no terminal or table stumbles over."""

import re
import struct
import unicodedata
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from cache.errors import InputError

NAME_LENGTH = 4096
UTF8_FLAG = 0x800
UNICODE_PATH = 0x7075
# Folders and files of systems and storage boxes, in lower case: thumbnails, waste bins, indexes.
SYSTEM_NAMES = frozenset(
    {"__macosx", "@eadir", "@tmp", "@recycle", "@recently-snapshot", "#recycle", "#snapshot", "$recycle.bin"}
    | {"recycler", "system volume information", "lost+found", "network trash folder", "temporary items"}
    | {"__pycache__", "thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini", "icon\\r"}
)
# Format characters that turn the direction of text or have no place in any script's spelling.
ESCAPED_FORMATS = re.compile("[\u00ad\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]")
DOUBLE_BYTE_ENCODINGS = ("cp932", "cp950", "gbk")  # Shift-JIS and Big5 as Windows has them, GBK
BACKSLASH = 0x5C


def printable(name: str) -> str:
    """A name of any encoding as one line of text in NFC, the same from a folder and from an archive of it."""
    return unicodedata.normalize("NFC", escaped(name))


def escaped(name: str) -> str:
    """A name of any encoding as one line of text, letters composed as they come.

    Joiners and other format characters that scripts need are kept; control characters, bytes that are no text and
    marks that turn the direction of text become escapes such as `\\n`.
    """
    if name.isprintable():
        return name
    return "".join(c if _is_kept(c) else c.encode("unicode_escape").decode() for c in name)


def _is_kept(character: str) -> bool:
    if character.isprintable() or unicodedata.category(character) == "Zs":
        return True
    return unicodedata.category(character) == "Cf" and not ESCAPED_FORMATS.match(character)


def system_part(name: str) -> str:
    """The part of a name that belongs to the system rather than to the images, such as `@eaDir`; empty if none does.

    A hidden file is `hidden`, because each one has a name of its own.
    """
    *folders, file = name.split("/")
    folder = next((part for part in folders if _is_system(part)), "")
    if folder or not _is_system(file):
        return folder
    return file if file.lower() in SYSTEM_NAMES else "hidden"


def is_hidden(name: str) -> bool:
    """Whether a file belongs to the system rather than to the images."""
    return system_part(name) != ""


def _is_system(part: str) -> bool:
    return part.startswith(".") or part.lower() in SYSTEM_NAMES


def ending_of(name: str) -> str:
    """The ending of a file's name in lower case, such as `.jpg`; blanks after it do not count. Empty if it has none."""
    return PurePosixPath(name.rstrip()).suffix.lower()


def folder_of(name: str) -> str:
    """The folder that a file lies in; empty at the top."""
    return name.rpartition("/")[0]


def look_alike_key(name: str) -> str:
    """Equal for names that a reader may take for one: they differ in case, width, blanks or invisible characters."""
    text = unicodedata.normalize("NFKC", name).casefold()
    return "".join(c for c in text if not c.isspace() and unicodedata.category(c) != "Cf")


def zip_name(member: zipfile.ZipInfo) -> str:
    """The name of a member, folders separated by `/`.

    Without the UTF-8 flag a name is code page 437, as the format says, unless its bytes are valid UTF-8, which most
    programs write, or an extra field has it in UTF-8. Some programs separate folders by a backslash.
    """
    name = member.filename
    if member.flag_bits & UTF8_FLAG:
        return name.replace("\\", "/")
    try:
        raw = name.encode("cp437")
    except UnicodeEncodeError:  # zipfile has taken it from the extra field
        return name.replace("\\", "/")
    raw = _unicode_path(member.extra, raw) or raw
    try:
        return raw.decode("utf-8").replace("\\", "/")
    except UnicodeDecodeError:
        return _with_slashes(raw).decode("cp437")


def _unicode_path(extra: bytes, raw: bytes) -> bytes:
    """The name in UTF-8 that the Unicode Path Extra Field (APPNOTE 4.6.9) has for this name; empty if there is none."""
    while len(extra) >= 4:
        kind, length = struct.unpack("<HH", extra[:4])
        content = extra[4 : 4 + length]
        if kind == UNICODE_PATH and content[:5] == struct.pack("<BL", 1, zlib.crc32(raw)):
            return content[5:]
        extra = extra[4 + length :]
    return b""


def _with_slashes(raw: bytes) -> bytes:
    """Backslashes as `/`, except those that are the second byte of a character of Shift-JIS, Big5 or GBK."""
    seconds = {position for encoding in DOUBLE_BYTE_ENCODINGS for position in _second_bytes(raw, encoding)}
    slashed = bytearray(raw)
    for position, byte in enumerate(raw):
        if byte == BACKSLASH and position not in seconds:
            slashed[position] = ord("/")
    return bytes(slashed)


def _second_bytes(raw: bytes, encoding: str) -> Iterator[int]:
    """Positions of the second bytes of characters; none if the whole is no text of this encoding."""
    try:
        text = raw.decode(encoding)
    except UnicodeDecodeError:
        return
    end = 0
    for character in text:
        width = len(character.encode(encoding))
        end += width
        if width > 1:
            yield end - 1


def safe_name(path: Path, raw: str) -> str:
    """A member's name without empty parts. Raises InputError if it is absolute, climbs or is too long."""
    name = escaped(raw[: NAME_LENGTH + 1])
    parts = name.split("/")
    if name.startswith("/") or ".." in parts or re.match(r"[A-Za-z]:/", name) or len(raw) > NAME_LENGTH:
        remedy = "Pack it again with relative names."
        raise InputError("holds an unsafe name", where=path, found=repr(name[:200]), remedy=remedy)
    return "/".join(part for part in parts if part not in ("", "."))
