"""Near duplicates are found by the direction of standardised features, block by block."""

from dataclasses import replace

import numpy as np
import pytest
from rounding import of_sums

from cache.errors import RecordError
from cache.records import FeatureSet
from pipeline.metrics import near_duplicates as module
from pipeline.metrics.near_duplicates import near_duplicates, nearest_rows

COSINE = of_sums(4 * 16)  # a product and two lengths over 16 features, and their quotient


def features(rows: np.ndarray, first_id: int) -> FeatureSet:
    ids = np.array([f"{first_id + row:064x}".encode() for row in range(len(rows))], dtype="S64")
    labels = np.arange(len(rows)) % 2
    return FeatureSet(rows.astype(np.float16), labels, ids, ("a", "b"), "unaugmented", "by hand")


@pytest.fixture
def train() -> FeatureSet:
    return features(5 + np.random.default_rng(0).normal(size=(50, 16)), 1000)


def test_a_copy_and_a_near_copy_are_found_the_nearest_first(train: FeatureSet) -> None:
    strangers = 5 + np.random.default_rng(1).normal(size=(6, 16))
    strangers[2] = train.features[7] + np.random.default_rng(2).normal(0, 0.02, 16)
    strangers[4] = train.features[9]
    copy, near = near_duplicates("test", features(strangers, 0), train, 0.95)
    assert (copy.row, copy.train_row, copy.split, copy.cosine) == (4, 9, "test", pytest.approx(1, abs=COSINE))
    assert (copy.actual, copy.train_class, copy.id, copy.train_id) == ("a", "b", f"{4:064x}", f"{1009:064x}")
    assert (near.row, near.train_row) == (2, 7)
    assert 0.95 < near.cosine < copy.cosine


def test_features_that_merely_point_the_same_way_are_no_duplicates(train: FeatureSet) -> None:
    strangers = features(5 + np.random.default_rng(1).normal(size=(20, 16)), 0)
    raw = np.asarray(strangers.features) @ np.asarray(train.features).T
    raw = raw / np.linalg.norm(strangers.features, axis=1)[:, None] / np.linalg.norm(train.features, axis=1)
    assert raw.max() > 0.95
    assert near_duplicates("test", strangers, train, 0.95) == []


def test_blocks_give_what_one_matrix_gives(train: FeatureSet, monkeypatch: pytest.MonkeyPatch) -> None:
    queries = np.random.default_rng(1).normal(size=(23, 16)).astype(np.float16)
    index, cosine = nearest_rows(queries, np.asarray(train.features))
    monkeypatch.setattr(module, "BLOCK_CELLS", 200)
    monkeypatch.setattr(module, "TILE", 8)
    blocked_index, blocked_cosine = nearest_rows(queries, np.asarray(train.features))
    assert np.array_equal(index, blocked_index)
    np.testing.assert_allclose(cosine, blocked_cosine, rtol=0, atol=COSINE)


def test_of_a_large_split_a_part_by_its_ids_is_compared(train: FeatureSet, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many products for each training image, however large the split is."""
    copies = replace(train, ids=np.random.default_rng(3).permutation(train.ids))
    monkeypatch.setattr(module, "COMPARED_IMAGES", 20)
    compared = near_duplicates("test", copies, train, 0.95)
    assert sorted(row.id.encode() for row in compared) == sorted(copies.ids)[:20]
    assert all(row.id.encode() == copies.ids[row.row] and row.row == row.train_row for row in compared)


def test_sets_of_different_backbones_are_refused_and_empty_ones_have_no_duplicates(train: FeatureSet) -> None:
    with pytest.raises(RecordError, match="differ in recipe"):
        near_duplicates("val", replace(train, recipe={"backbone": "other"}), train, 0.9)
    nothing = train.take(np.arange(0))
    assert near_duplicates("val", nothing, train, 0.9) == near_duplicates("val", train, nothing, 0.9) == []
