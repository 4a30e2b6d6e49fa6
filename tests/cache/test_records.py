"""Records refuse columns that do not belong together, and say what is wrong."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cache.errors import RecordError
from cache.layout import hex_keys, row_digests
from cache.reader import read_images
from cache.records import FeatureSet, ImageSet, positions_of
from cache.writer import write_images

Make = Callable[..., Any]


def test_taken_rows_keep_their_identity(make_images: Make) -> None:
    images: ImageSet = make_images(5)
    taken = images.take(np.array([3, 0]))
    assert np.array_equal(taken.images, images.images[[3, 0]])
    assert (taken.labels.tolist(), taken.ids.tolist()) == ([0, 0], [b"0" * 63 + b"3", b"0" * 64])


def test_keys_are_the_digests_of_the_pixels_in_memory_and_on_disk(make_images: Make, tmp_path: Path) -> None:
    images: ImageSet = make_images(5)
    write_images(tmp_path / "a.h5", images)
    expected = hex_keys(row_digests(images.images[:]))
    assert np.array_equal(images.keys(), expected)
    assert np.array_equal(read_images(tmp_path / "a.h5").keys(), expected)
    assert make_images(0).keys().shape == (0,)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": np.zeros((5, 4, 4), np.uint8)}, r"images have the wrong form; expected uint8 \[n, h, w, 3\]"),
        ({"images": np.zeros((5, 4, 4, 3), np.float32)}, r"found float32 \(5, 4, 4, 3\)"),
        ({"images": np.zeros((5, 4, 4, 1), np.uint8)}, r"found uint8 \(5, 4, 4, 1\)"),
        ({"labels": np.zeros(4, int)}, "columns differ in length; .* found 5 rows, 4 labels, 5 ids"),
        ({"ids": np.zeros(6, "S64")}, "found 5 rows, 5 labels, 6 ids"),
        ({"labels": np.zeros(5)}, "columns have the wrong type; .* found labels float64, ids"),
        ({"ids": np.zeros(5, "U64")}, "expected integer labels and bytes ids, found labels int64, ids <U64"),
        ({"labels": np.array([0, 1, 3, 0, 0])}, "labels do not match the classes; expected 0 to 2, found 0 to 3"),
        ({"labels": np.array([0, 1, -1, 0, 0])}, "found -1 to 1"),
        ({"classes": ("ant", "bee", "ant")}, "class names must be distinct and not empty; found 'ant'"),
        ({"classes": ("ant", "bee", "")}, "class names must be distinct and not empty; found ''"),
        ({"variant": "Spatial 1"}, "bad variant name; expected lower-case .* found 'Spatial 1'"),
    ],
)
def test_images_are_refused(make_images: Make, change: dict[str, Any], message: str) -> None:
    with pytest.raises(RecordError, match=message):
        replace(make_images(5), **change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"features": np.zeros((5, 7))}, r"expected float16 or float32 \[n, d\], found float64 \(5, 7\)"),
        ({"features": np.zeros(5, np.float16)}, r"features have the wrong form"),
        ({"features": np.zeros((5, 7), ">f4")}, "features have the wrong form"),
        ({"backbone": ""}, "features do not name their backbone"),
        ({"labels": np.array([0, 1, 9, 0, 0])}, "labels do not match the classes"),
    ],
)
def test_features_are_refused(make_features: Make, change: dict[str, Any], message: str) -> None:
    features: FeatureSet = make_features(5)
    with pytest.raises(RecordError, match=message):
        replace(features, **change)


@pytest.mark.parametrize(
    "index",
    [
        slice(None),
        slice(2, 5),
        slice(-3, None),
        slice(None, None, -2),
        slice(5, 99),
        3,
        -1,
        np.int64(2),
        [4, 0, 4],
        np.array([-1, 1]),
        np.array([], dtype=int),
        np.arange(7) % 2 == 0,
    ],
    ids=str,
)
def test_an_index_means_what_numpy_says(index: object) -> None:
    assert positions_of(index, 7).tolist() == np.atleast_1d(np.arange(7)[index]).tolist()  # type: ignore[call-overload]


@pytest.mark.parametrize("index", [7, -8, [0, 7], np.ones(6, dtype=bool)], ids=str)
def test_an_index_beyond_the_rows_is_refused(index: object) -> None:
    with pytest.raises(IndexError):
        positions_of(index, 7)
