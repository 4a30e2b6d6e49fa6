"""Folds spread classes evenly, as scikit-learn's do."""

import numpy as np
import pytest
from sklearn.model_selection import StratifiedKFold

from cache.records import FeatureSet
from pipeline.heads.sets import fold_numbers


@pytest.mark.parametrize(("count", "folds", "seed"), [(47, 3, 0), (100, 5, 7), (64, 2, 1)])
def test_folds_are_those_of_scikit_learn(count: int, folds: int, seed: int) -> None:
    labels = np.random.default_rng(seed).choice([0, 1, 3], size=count)
    ids = np.array([b"%064x" % number for number in range(count)])
    rows = np.zeros((count, 2), dtype=np.float16)
    train = FeatureSet(rows, labels, ids, ("a", "b", "none", "c"), "unaugmented", "mini", {})
    expected = np.zeros(count, dtype=np.int64)
    peer = StratifiedKFold(folds, shuffle=True, random_state=seed)
    for number, (_, held_out) in enumerate(peer.split(rows, labels)):
        expected[held_out] = number
    assert fold_numbers(train, folds, seed).tolist() == expected.tolist()
