"""Thumbnails: which images are shown, next to which siblings, and how large."""

import base64
import io
from dataclasses import replace

import numpy as np
from pages import images
from PIL import Image

from pipeline.report.gallery import choose_rows, make_gallery, png_uri


def test_gallery_shows_siblings_under_their_source_by_id() -> None:
    sets = {"val": images(), "val-color_1": images("color_1", 5, 7), "train-color_1": images("color_1")}
    reverse = np.arange(5)[::-1].copy()
    sets["val-color_1"] = sets["val-color_1"].take(reverse)
    gallery = make_gallery(sets, 6, 128)
    assert gallery is not None
    assert (gallery.split, [row.variant for row in gallery.rows]) == ("val", ["unaugmented", "color_1"])
    shades = [[shade_of(uri) if uri else None for uri in row.thumbnails] for row in gallery.rows]
    assert shades == [[0, 20, 40, 60, 80, 100], [7, 27, 47, 67, 87, None]]


def shade_of(uri: str) -> int:
    image = Image.open(io.BytesIO(base64.b64decode(uri.removeprefix("data:image/png;base64,"))))
    return int(np.asarray(image)[0, 0, 0])


def test_samples_spread_over_the_classes_before_a_class_repeats() -> None:
    labels = np.repeat(np.arange(3), [4, 1, 2])
    several = replace(images(rows=7), labels=labels)
    assert several.labels[choose_rows(several, 2)].tolist() == [0, 1]
    assert choose_rows(several, 3).tolist() == [0, 4, 5]
    assert choose_rows(several, 6).tolist() == [0, 4, 5, 1, 6, 2]
    assert len(choose_rows(several, 24)) == 7


def test_large_images_are_shrunk_and_small_ones_kept() -> None:
    def size(side: int, longest: int) -> tuple[int, int]:
        uri = png_uri(np.zeros((side, side // 2, 3), dtype=np.uint8), longest)
        return Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))).size

    assert size(256, 128) == (64, 128)
    assert size(64, 128) == (32, 64)
