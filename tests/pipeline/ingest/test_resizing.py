"""What is said of images that are enlarged, and of photos of which a small backbone sees little."""

from pathlib import Path

import numpy as np
import pytest

from pipeline.config.params import read_params
from pipeline.ingest.resizing import Resizing

ROOT = Path(__file__).resolve().parents[3]
SIDES = np.array([[40, 90], [64, 64], [200, 300], [150, 400]])


def resizing(fit: str, size: int, sides: np.ndarray = SIDES) -> Resizing:
    config = read_params(ROOT / "params.yaml", [f"prepare.fit={fit}", f"prepare.size={size}"]).prepare
    return Resizing.of(sides, config)


@pytest.mark.parametrize(("fit", "count", "smallest", "median"), [("crop", 1, 40, 107), ("pad", 0, 64, 195)])
def test_the_side_that_counts_is_the_one_that_the_fit_brings_to_size(
    fit: str, count: int, smallest: int, median: int
) -> None:
    assert resizing(fit, 64) == Resizing(count, smallest, median, 64)


def test_a_line_for_enlarged_images_and_one_for_photos() -> None:
    both = list(resizing("crop", 50).lines())
    assert both[0].startswith("1 image is ENLARGED to prepare.size, 50 px; the smallest has 40 px")
    assert both[1].startswith("half of the images have 107 px or more, and are stored at 50 px")
    assert len(both) == 2


def test_images_of_the_stored_size_need_no_word() -> None:
    assert list(resizing("crop", 64, np.full((3, 2), 64)).lines()) == []
    assert list(resizing("crop", 64, np.empty((0, 2), dtype=int)).lines()) == []
