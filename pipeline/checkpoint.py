"""Checkpoints of long training in the store, keyed by all that decides them: complete, or absent."""

import hashlib
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from cache.errors import DamagedFile
from cache.layout import recipe_key
from cache.parts import remove_stale, store_folder
from cache.writer import write_bytes

DIGEST = 32  # bytes of SHA-256 before the payload


@dataclass(frozen=True)
class Checkpoint:
    """Where the state of one training is kept. recipe: everything that decides what it comes to."""

    stage: str
    recipe: Mapping[str, Any]

    @property
    def path(self) -> Path:
        """The file, in the store: DVC removes a stage's outputs before it runs."""
        return store_folder() / "checkpoints" / self.stage / f"{recipe_key(dict(self.recipe))[:32]}.pt"

    def save(self, state: Mapping[str, Any]) -> None:
        """Keep tensors and plain values; the file before it stays until this one is complete."""
        buffer = io.BytesIO()
        torch.save(state, buffer)
        payload = buffer.getvalue()
        write_bytes(self.path, hashlib.sha256(payload).digest() + payload)

    def load(self) -> dict[str, Any] | None:
        """The state that was kept, on the CPU; None where there is none. Raises DamagedFile."""
        remove_stale(self.path.parent)
        try:
            content = self.path.read_bytes()
        except FileNotFoundError:
            return None
        digest, payload = content[:DIGEST], content[DIGEST:]
        if hashlib.sha256(payload).digest() != digest:
            remedy = "Remove it; training then begins anew."
            raise DamagedFile("checkpoint does not match its checksum", where=self.path, remedy=remedy)
        state: dict[str, Any] = torch.load(io.BytesIO(payload), map_location="cpu", weights_only=True)
        return state
