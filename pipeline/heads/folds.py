"""Folds of cross-validation: every class is dealt out evenly."""

import numpy as np
import torch
from torch import Tensor

from cache.errors import InputError
from cache.layout import Array
from cache.records import FeatureSet


def fold_numbers(train: FeatureSet, folds: int, seed: int) -> Tensor:
    """A fold int [n] for every training row; siblings share a row number, and so a fold.

    Raises InputError if a class has fewer images than there are folds.
    """
    sizes = np.bincount(train.labels, minlength=len(train.classes))
    smallest = int(np.where(sizes > 0, sizes, sizes.max()).argmin())
    if sizes[smallest] < folds:
        raise InputError(
            f"class {train.classes[smallest]} has too few training images to cross-validate",
            expected=f"{folds} or more, one for each fold",
            found=int(sizes[smallest]),
            remedy="Lower the number of folds, or add images.",
        )
    return torch.from_numpy(deal_folds(train.labels, folds, seed))


def deal_folds(labels: Array, folds: int, seed: int) -> Array:
    """A fold int64 [n] for each row: of any class, two folds differ by one row at most.

    The folds of scikit-learn's StratifiedKFold, whose import alone takes a second. A class of fewer rows than folds is
    in some of them only.
    """
    random = np.random.RandomState(seed % 2**32)
    appearance = _by_first_row(labels)
    ordered = np.sort(appearance)
    numbers = np.zeros(len(labels), dtype=np.int64)
    for label in range(int(ordered.max()) + 1):
        dealt = [int((ordered[fold::folds] == label).sum()) for fold in range(folds)]
        own = np.arange(folds).repeat(dealt)
        random.shuffle(own)
        numbers[appearance == label] = own
    return numbers


def _by_first_row(labels: Array) -> Array:
    """Labels numbered by the order in which they first appear."""
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    return np.asarray(np.argsort(np.argsort(first))[inverse])
