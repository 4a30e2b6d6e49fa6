"""Cached sets for torch's own loaders."""

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from cache.records import FeatureSet, ImageSet


class CachedDataset(Dataset[tuple[Tensor, int]]):
    """Rows of a cached set with their labels, read from disk when they are asked for, checked as they are read.

    A row is float [d] of a FeatureSet, or uint8 [3, h, w] of an ImageSet. A DataLoader reads a batch in one go.
    """

    def __init__(self, rows: FeatureSet | ImageSet) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.__getitems__([range(len(self))[index]])[0]

    def __getitems__(self, index: list[int]) -> list[tuple[Tensor, int]]:
        """What torch's DataLoader calls for a batch."""
        chosen = self.rows.take(np.asarray(index))
        tensor = torch.from_numpy(chosen.features[:] if isinstance(chosen, FeatureSet) else chosen.images[:])
        rows = tensor if isinstance(chosen, FeatureSet) else tensor.permute(0, 3, 1, 2)
        return list(zip(rows, chosen.labels.tolist(), strict=True))
