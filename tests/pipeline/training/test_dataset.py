"""Cached sets feed torch's DataLoader, from memory or from disk, in any order."""

from pathlib import Path

import numpy as np
import pytest
import torch
from bundles import CLASSES, noise
from torch.utils.data import DataLoader

from cache.reader import read_images
from cache.records import FeatureSet, ImageSet
from cache.writer import write_images
from pipeline.training.dataset import CachedDataset

IDS = np.array([f"{row:064x}".encode() for row in range(10)], dtype="S64")
LABELS = np.arange(10) % 3


def test_images_from_disk_come_in_batches_channels_first(tmp_path: Path) -> None:
    write_images(tmp_path / "train.h5", ImageSet(noise(10, 24), LABELS, IDS, CLASSES))
    dataset = CachedDataset(read_images(str(tmp_path / "train.h5")))
    (first, labels), *_ = DataLoader(dataset, batch_size=4)
    assert (first.shape, first.dtype, labels.tolist()) == ((4, 3, 24, 24), torch.uint8, [0, 1, 2, 0])
    assert np.array_equal(first.permute(0, 2, 3, 1).numpy(), noise(10, 24)[:4])
    shuffled = [int(label) for _, batch in DataLoader(dataset, batch_size=3, shuffle=True) for label in batch]
    assert sorted(shuffled) == sorted(LABELS.tolist())


def test_a_row_of_features_is_a_vector_with_its_label() -> None:
    rows = np.arange(20, dtype=np.float32).reshape(10, 2)
    dataset = CachedDataset(FeatureSet(rows, LABELS, IDS, CLASSES, "unaugmented", "by hand"))
    row, label = dataset[-1]
    assert (row.tolist(), label, len(dataset)) == ([18.0, 19.0], 0, 10)
    with pytest.raises(IndexError):
        dataset[10]
