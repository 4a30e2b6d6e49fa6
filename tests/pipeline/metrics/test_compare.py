"""Differences that can be counted by hand, and McNemar's p as the binomial gives it."""

from dataclasses import replace

import numpy as np
import pytest

from cache.errors import RecordError
from pipeline.metrics.compare import COLUMNS, ChangedImage, ClassChange, compare, comparison_rows
from pipeline.metrics.predictions import Predictions
from pipeline.report.comparison_report import render_comparison

LABELS = np.array([0, 0, 0, 0, 1, 1, 1, 1])


def predict(predicted: list[int]) -> Predictions:
    probabilities = np.full((8, 3), 0.1, dtype=np.float32)
    probabilities[np.arange(8), predicted] = 0.8
    ids = np.array([f"{row:064x}".encode() for row in range(8)], dtype="S64")
    return Predictions(probabilities, LABELS, ids, ("a", "<b>", "c"), "unaugmented")


BEFORE = predict([0, 0, 1, 1, 1, 1, 0, 2])  # 4 of 8
AFTER = predict([0, 2, 0, 0, 1, 1, 1, 1])  # 7 of 8: loses row 1, gains rows 2, 3, 6, 7


def test_changes_are_counted_by_image_and_class() -> None:
    result = compare(BEFORE, AFTER, 0.95)
    assert (result.n, result.before, result.after, result.gained, result.lost) == (8, 0.5, 0.875, 4, 1)
    assert result.difference.value == 0.375 and result.difference.low < 0.375 < result.difference.high
    assert result.p_value == pytest.approx(2 * (1 + 5 / 2) / 2**5)  # of 5 images that changed, 0, or half of 1, went so
    assert result.classes == (ClassChange("<b>", 4, 0.5, 1.0, 0.5), ClassChange("a", 4, 0.5, 0.75, 0.25))
    assert result.images[0] == ChangedImage(1, f"{1:064x}", "", "a", "a", "c", gained=False)
    assert [(image.row, image.gained) for image in result.images[1:]] == [(2, True), (3, True), (6, True), (7, True)]


def test_a_classifier_does_not_differ_from_itself() -> None:
    result = compare(AFTER, AFTER, 0.95)
    assert (result.p_value, result.gained, result.lost, result.images) == (1.0, 0, 0, ())
    assert (result.difference.low, result.difference.high) == (0, 0)


def test_other_images_or_classes_are_refused() -> None:
    with pytest.raises(RecordError, match="different classes"):
        compare(BEFORE, replace(AFTER, classes=("a", "b", "d")), 0.95)
    with pytest.raises(RecordError, match="different rows"):
        compare(BEFORE, replace(AFTER, ids=np.char.add(AFTER.ids, b"")[::-1].copy()[[0] * 8]), 0.95)


def test_corrected_labels_count_for_both_runs() -> None:
    """Sets are sorted by class, so a corrected label moves its row: images are paired by id."""
    corrected = AFTER.take(np.array([0, 1, 2, 4, 5, 3, 6, 7]))
    corrected = replace(corrected, labels=np.sort(LABELS + 0)[[0, 0, 0, 4, 4, 4, 4, 4]])  # image 3 is of class <b>
    result = compare(BEFORE, corrected, 0.95)
    assert (result.corrected, result.unpaired, result.n) == (1, 0, 8)
    assert (result.before, result.after) == (5 / 8, 6 / 8)  # before, image 3 was taken for <b>; after, for a
    said = "labels of these images corrected in between: 1, the later ones count for both"
    assert result.remark == f"{said}; before had 50.0% by its own; "
    assert (compare(BEFORE, AFTER, 0.95).corrected, compare(BEFORE, AFTER, 0.95).remark) == (0, "")


def test_images_that_one_run_lacks_are_left_out_and_counted() -> None:
    many = [np.concatenate([getattr(side, name)] * 3) for side in (BEFORE, AFTER) for name in ("probabilities",)]
    ids = np.array([f"{row:064x}".encode() for row in range(24)], dtype="S64")
    before, after = (Predictions(rows, np.tile(LABELS, 3), ids, AFTER.classes, "unaugmented") for rows in many)
    result = compare(before, after.take(np.arange(1, 24)), 0.95)
    assert (result.n, result.unpaired) == (23, 1)
    assert result.remark == "1 image is in one run only and left out; "
    reverse = compare(before.take(np.arange(1, 24)), after, 0.95)
    assert [image.id for image in reverse.images] == [f"{image.row:064x}" for image in reverse.images]
    with pytest.raises(RecordError, match="different rows"):
        compare(before, after.take(np.arange(3, 24)), 0.95)


def test_the_table_has_a_row_per_variant() -> None:
    (row,) = comparison_rows([compare(BEFORE, AFTER, 0.95)])
    named = dict(zip(COLUMNS, row, strict=True))
    change = named.pop("change, points")
    assert change.startswith("+37.5 [") and change.endswith("]")
    assert named == {
        **{"variant": "unaugmented", "images": "8", "before": "50.0%", "after": "87.5%"},
        **{"gained": "4", "lost": "1", "p": "0.22"},
    }


def test_the_page_shows_what_was_lost_and_gained_and_escapes_names() -> None:
    page = render_comparison([compare(BEFORE, AFTER, 0.95)], ("<old>", "new"), None)
    assert "new against &lt;old&gt;" in page and "<old>" not in page and "<b></b>" not in page
    assert page.count("was predicted as") == 4 and page.count("now predicted as") == 1
    assert "+37.5" in page and "http:" not in page
