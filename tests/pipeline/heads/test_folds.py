"""Folds spread classes evenly, as scikit-learn's do."""

import numpy as np
import pytest
from sklearn.model_selection import StratifiedKFold

from cache.errors import InputError
from cache.records import FeatureSet
from pipeline.heads.folds import deal_folds, fold_numbers


def rows_labelled(labels: np.ndarray) -> FeatureSet:
    ids = np.array([b"%064x" % number for number in range(len(labels))])
    rows = np.zeros((len(labels), 2), dtype=np.float16)
    return FeatureSet(rows, labels, ids, ("a", "b", "none", "c"), "unaugmented", "mini", {})


@pytest.mark.parametrize(("count", "folds", "seed"), [(47, 3, 0), (100, 5, 7), (64, 2, 1)])
def test_folds_are_those_of_scikit_learn(count: int, folds: int, seed: int) -> None:
    labels = np.random.default_rng(seed).choice([0, 1, 3], size=count)
    expected = np.zeros(count, dtype=np.int64)
    peer = StratifiedKFold(folds, shuffle=True, random_state=seed)
    for number, (_, held_out) in enumerate(peer.split(labels, labels)):
        expected[held_out] = number
    assert fold_numbers(rows_labelled(labels), folds, seed).tolist() == expected.tolist()


def test_classes_smaller_than_the_number_of_folds_are_dealt_out_too() -> None:
    labels = np.repeat([0, 1, 2], [23, 7, 1])
    folds = deal_folds(labels, 5, 0)
    for label in range(3):
        counts = np.bincount(folds[labels == label], minlength=5)
        assert counts.max() - counts.min() <= 1
    assert (folds == deal_folds(labels, 5, 0)).all()


def test_a_class_that_would_be_missing_from_a_fold_is_refused() -> None:
    with pytest.raises(InputError, match="class b has too few training images"):
        fold_numbers(rows_labelled(np.array([0, 0, 0, 1, 1])), 3, 0)
