"""Checkpoints of long training in the store, keyed by all that decides them: complete, or absent."""

import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from cache.files import remove_stale
from cache.layout import recipe_key
from cache.parts import store_folder
from cache.sealed import read_sealed, write_sealed


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
        write_sealed(self.path, buffer.getvalue())

    def load(self) -> dict[str, Any] | None:
        """The state that was kept, on the CPU; None where there is none. Raises DamagedFile."""
        remove_stale(self.path.parent)
        try:
            payload = read_sealed(self.path)
        except FileNotFoundError:
            return None
        state: dict[str, Any] = torch.load(io.BytesIO(payload), map_location="cpu", weights_only=True)
        return state
