"""Small opaque files that begin with the SHA-256 of what follows: checkpoints of long training."""

import hashlib
from pathlib import Path

from cache.errors import DamagedFile
from cache.writer import write_bytes

DIGEST = 32  # bytes of SHA-256 before the payload
REMEDY = "Remove it; training then begins anew."


def write_sealed(path: Path, payload: bytes) -> None:
    """Complete or absent; the file before it stays until this one is complete."""
    write_bytes(path, hashlib.sha256(payload).digest() + payload)


def read_sealed(path: Path) -> bytes:
    """The payload. Raises DamagedFile where it is not what was written, FileNotFoundError where there is none."""
    content = path.read_bytes()
    digest, payload = content[:DIGEST], content[DIGEST:]
    if hashlib.sha256(payload).digest() != digest:
        raise DamagedFile("checkpoint does not match its checksum", where=path, remedy=REMEDY)
    return payload
