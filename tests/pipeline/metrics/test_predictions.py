"""Predictions are checked on construction, stored to the byte, and refused when damaged."""

import io
import zipfile
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from cache.errors import DamagedFile, ForeignFile, NewerFile, RecordError
from pipeline.metrics import predictions as module
from pipeline.metrics.predictions import Predictions, from_npz, to_npz


def make(probabilities: Any, labels: list[int], classes: tuple[str, ...] = ("a", "b", "c")) -> Predictions:
    ids = np.array([f"{row:064x}".encode() for row in range(len(labels))], dtype="S64")
    array = np.array(probabilities, dtype=np.float32).reshape(len(labels), len(classes))
    return Predictions(array, np.array(labels, dtype=np.int64), ids, classes, "unaugmented")


@pytest.fixture
def three() -> Predictions:
    return make([[0.5, 0.25, 0.25], [0.25, 0.25, 0.5], [0.0, 0.5, 0.5]], [0, 1, 2])


def test_predicted_is_the_likeliest_class_and_the_first_of_equals(three: Predictions) -> None:
    assert three.predicted.tolist() == [0, 2, 1]
    assert three.correct.tolist() == [True, False, False]


def test_rank_counts_the_classes_before_the_true_one_with_equals_in_class_order(three: Predictions) -> None:
    assert three.ranks.tolist() == [0, 2, 1]
    assert (three.correct == (three.ranks == 0)).all()


def test_no_rows_are_allowed() -> None:
    empty = make([], [])
    assert len(empty) == 0
    assert len(from_npz(to_npz(empty))) == 0


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"probabilities": np.full((3, 3), 0.3, dtype=np.float32)}, "do not sum to 1; expected 1, found 0.9 in row 0"),
        ({"probabilities": np.full((3, 3), np.nan, dtype=np.float32)}, "negative, NaN or infinite"),
        ({"probabilities": np.array([[2, -1, 0]] * 3, dtype=np.float32)}, "negative, NaN or infinite"),
        ({"probabilities": np.full((3, 3), 1 / 3)}, "expected float32 [n, 3], found float64 (3, 3)"),
        ({"classes": ("a", "b", "c", "d")}, "expected float32 [n, 4], found float32 (3, 3)"),
        ({"labels": np.array([0, 1])}, "found 3 rows, 2 labels, 3 ids"),
        ({"labels": np.array([0, 1, 3])}, "expected 0 to 2, found 0 to 3"),
        ({"labels": np.array([0.0, 1.0, 2.0])}, "found labels float64"),
        ({"ids": np.array(["x", "y", "z"])}, "found labels int64, ids <U1"),
        ({"classes": ("a", "a", "c")}, "distinct"),
        ({"variant": "../up"}, "bad variant name"),
    ],
)
def test_columns_that_do_not_belong_together_are_refused(three: Predictions, change: dict[str, Any], said: str) -> None:
    with pytest.raises(RecordError) as refused:
        replace(three, **change)
    assert said in str(refused.value)


def test_stored_predictions_come_back_equal(three: Predictions) -> None:
    back = from_npz(to_npz(three))
    assert back.probabilities.tobytes() == three.probabilities.tobytes()
    assert back.labels.tolist() == [0, 1, 2]
    assert back.ids.tolist() == three.ids.tolist()
    assert (back.classes, back.variant) == (("a", "b", "c"), "unaugmented")


def test_equal_predictions_give_equal_bytes_without_the_time(three: Predictions, monkeypatch: Any) -> None:
    first = to_npz(three)
    monkeypatch.setattr("time.time", lambda: 2_000_000_000.0)
    monkeypatch.setattr("time.localtime", lambda *_: (2033, 5, 18, 3, 33, 20, 2, 138, 0))
    assert to_npz(from_npz(first)) == first


def test_a_flipped_bit_is_refused_as_damage_or_changes_nothing(three: Predictions) -> None:
    """Bits that change nothing are those of the zip's own fields: times, versions, attributes."""
    content = to_npz(three)
    harmless = 0
    for place in range(len(content)):
        flipped = bytearray(content)
        flipped[place] ^= 1 << place % 8
        try:
            back = from_npz(bytes(flipped), "predictions-unaugmented.npz")
        except DamagedFile as error:
            assert "predictions-unaugmented.npz" in str(error)
        else:
            assert to_npz(back) == content, f"byte {place} changed what was read"
            harmless += 1
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        stored = sum(entry.file_size for entry in archive.infolist())
    assert harmless <= len(content) - stored


def test_a_truncated_file_is_refused(three: Predictions) -> None:
    with pytest.raises(DamagedFile, match="cannot be read"):
        from_npz(to_npz(three)[:-100], "p.npz")


def test_a_foreign_npz_is_refused() -> None:
    foreign = io.BytesIO()
    np.savez(foreign, meta=np.frombuffer(b"{}", dtype=np.uint8))
    with pytest.raises(ForeignFile, match="not a file of predictions"):
        from_npz(foreign.getvalue(), "p.npz")


def test_a_pickle_inside_is_never_loaded() -> None:
    trap = io.BytesIO()
    np.savez(trap, meta=np.array([{"format": "augcache predictions"}], dtype=object))
    with pytest.raises(DamagedFile):
        from_npz(trap.getvalue(), "p.npz")


def test_a_newer_version_is_refused(three: Predictions, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "VERSION", 2)
    content = to_npz(three)
    monkeypatch.setattr(module, "VERSION", 1)
    with pytest.raises(NewerFile, match="expected version 1, found version 2"):
        from_npz(content, "p.npz")
