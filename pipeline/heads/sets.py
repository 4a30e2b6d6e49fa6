"""Feature sets in the memory of a device: checked to belong together, and standardised."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from cache.errors import InputError, RecordError
from cache.records import FeatureSet
from pipeline.config.shared.schedule import Phase
from pipeline.metrics.set_checks import check_training_sets
from pipeline.networks.head import steady_scale

CACHED_ROWS = 512
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Rows:
    """A FeatureSet in the memory of a device, once."""

    features: Tensor  # float [n, d], as stored
    labels: Tensor  # int64 [n]


@dataclass(frozen=True)
class Standardizer:
    """Mean of the training features and what they are divided by, float32 [d] each."""

    mean: Tensor
    scale: Tensor

    def __call__(self, features: Tensor) -> Tensor:
        """Standardised features float32 [n, d]."""
        return (features.float() - self.mean).div_(self.scale)


def fit_standardizer(rows: Rows) -> Standardizer:
    """From all rows, in blocks that a processor's cache holds; a feature that hardly varies is not magnified."""
    count = len(rows.labels)
    blocks = rows.features.split(CACHED_ROWS)
    mean = torch.stack([block.float().sum(dim=0) for block in blocks]).sum(dim=0) / count
    squares = torch.stack([(block.float() - mean).square_().sum(dim=0) for block in blocks]).sum(dim=0)
    deviation = (squares / max(1, count - 1)).sqrt()
    return Standardizer(mean, steady_scale(mean, deviation, count))


def check_sets(train: Mapping[str, FeatureSet], val: Mapping[str, FeatureSet], schedule: list[Phase]) -> None:
    """Refuse sets that the schedule lacks, or that differ in images, classes, backbone or width.

    Raises InputError, RecordError.
    """
    check_training_sets(train, val, {phase.variant for phase in schedule}, "augment and featurize")
    sets = [*train.values(), *val.values()]
    for features in sets[1:]:
        if features.recipe != sets[0].recipe:
            raise RecordError("feature sets differ in recipe", where=features.variant, remedy="Run featurize again.")


def at_most(train: Mapping[str, FeatureSet], count: int, seed: int) -> Mapping[str, FeatureSet]:
    """The sets with `count` images at most: by chance, each class by its share, and the same images of all variants."""
    smaller = {}
    for variant, features in train.items():
        if len(features) <= count:
            smaller[variant] = features
            continue
        random = np.random.default_rng(seed)  # for each set anew: sets of the same images keep the same ones
        order = random.permutation(len(features))
        grouped = order[np.argsort(features.labels[order], kind="stable")]  # by class, in a random order within it
        sizes = np.bincount(features.labels)
        within = np.concatenate([(np.arange(size) + 0.5) / size for size in sizes])  # of 0..1, along each class
        kept = grouped[np.argsort(within, kind="stable")[:count]]
        smaller[variant] = features.take(np.sort(kept))
    return smaller


def in_memory(features: FeatureSet, device: torch.device = CPU) -> Rows:
    """Read a set once. Raises InputError where it does not fit on a GPU."""
    labels = torch.from_numpy(np.asarray(features.labels, dtype=np.int64))
    try:
        return Rows(torch.from_numpy(features.features[:]).to(device), labels.to(device))
    except torch.OutOfMemoryError as error:
        what = "features do not fit into the memory of the GPU"
        remedy = "Set train_head.device to cpu."
        raise InputError(what, where=features.variant, remedy=remedy) from error
