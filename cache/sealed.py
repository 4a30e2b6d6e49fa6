"""Opaque files that begin with the SHA-256 of what follows: checkpoints of long training, exported networks."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cache.errors import DamagedFile
from cache.files import write_bytes
from cache.layout import USER_BLOCK, canonical

DIGEST = 32  # bytes of SHA-256 before the payload
REMEDY = "Remove it; it is made anew."


def write_sealed(path: Path, payload: bytes) -> None:
    """Complete or absent; the file before it stays until this one is complete."""
    write_bytes(path, hashlib.sha256(payload).digest() + payload)


def read_sealed(path: Path) -> bytes:
    """The payload. Raises DamagedFile if it is not what was written, FileNotFoundError if there is none."""
    content = path.read_bytes()
    digest = content[:DIGEST]
    payload = content[DIGEST:]
    if hashlib.sha256(payload).digest() != digest:
        raise DamagedFile("file does not match its checksum", where=path, remedy=REMEDY)
    return payload


HASH_BYTES = 1 << 20


def seal_of(raw: Any, header: Mapping[str, Any], size: int) -> str:
    """SHA-256 over the header without its seal and every byte of the file outside the rows and the user block."""
    digest = hashlib.sha256(canonical({key: value for key, value in header.items() if key != "seal"}))
    offset, length = header["rows"]
    for start, end in ((USER_BLOCK, offset if length else size), (offset + length if length else size, size)):
        raw.seek(start)
        left = end - start
        while left > 0 and (chunk := raw.read(min(HASH_BYTES, left))):
            digest.update(chunk)
            left -= len(chunk)
    return digest.hexdigest()
