"""Checkpoints come back as they went, or are refused."""

from pathlib import Path

import pytest
import torch

from cache.errors import DamagedFile
from pipeline.runtime.checkpoint import Checkpoint

STATE = {"weights": torch.arange(5.0), "epoch": 3, "curves": [{"loss": 0.25, "variant": "unaugmented"}]}


def test_a_state_comes_back_as_it_was(store: Path) -> None:
    checkpoint = Checkpoint("pretrain", {"seed": 1})
    assert checkpoint.load() is None
    checkpoint.save({"weights": torch.zeros(1)})
    checkpoint.save(STATE)
    loaded = checkpoint.load()
    assert loaded is not None and torch.equal(loaded.pop("weights"), STATE["weights"])
    assert loaded == {"epoch": 3, "curves": STATE["curves"]}
    assert checkpoint.path.is_relative_to(store)
    assert [path.name for path in checkpoint.path.parent.iterdir()] == [checkpoint.path.name]


def test_another_recipe_is_another_checkpoint() -> None:
    Checkpoint("pretrain", {"seed": 1}).save(STATE)
    assert Checkpoint("pretrain", {"seed": 2}).load() is None


@pytest.mark.parametrize("length", [0, 10, 31, 32, 100, -1])
def test_a_truncated_checkpoint_is_refused(length: int) -> None:
    checkpoint = Checkpoint("pretrain", {"seed": 1})
    checkpoint.save(STATE)
    checkpoint.path.write_bytes(checkpoint.path.read_bytes()[:length])
    with pytest.raises(DamagedFile, match="Remove it"):
        checkpoint.load()


def test_a_flipped_bit_is_refused() -> None:
    checkpoint = Checkpoint("pretrain", {"seed": 1})
    checkpoint.save(STATE)
    content = checkpoint.path.read_bytes()
    for place in (5, 40, len(content) // 2, len(content) - 1):
        checkpoint.path.write_bytes(content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :])
        with pytest.raises(DamagedFile, match="checksum"):
            checkpoint.load()
