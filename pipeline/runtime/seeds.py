"""Randomness as an argument: every generator is made from what it is for, never from what ran before."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np


def derived_seed(*parts: object) -> int:
    """A 64-bit seed from any parts, such as (seed, variant, id): equal parts, equal seed, on every machine."""
    text = "\0".join(part.decode() if isinstance(part, bytes) else str(part) for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little")


def make_generator(*parts: object) -> np.random.Generator:
    """A numpy generator of its own for these parts."""
    return np.random.Generator(np.random.SFC64(derived_seed(*parts)))


@contextmanager
def torch_seeded(*parts: object) -> Iterator[None]:
    """Seed torch's generators inside the block only, a GPU's where one is in use; the state outside it is untouched."""
    import torch

    gpus = list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []
    with torch.random.fork_rng(devices=gpus):
        seed = derived_seed(*parts) % 2**63
        torch.default_generator.manual_seed(seed)
        if gpus:
            torch.cuda.manual_seed_all(seed)
        yield
