"""Views of an image are what their names say, and the image itself always comes first."""

import numpy as np
import pytest
from bundles import noise

from cache.errors import ParamsError
from pipeline.inference.tta import VIEWS, views_of

IMAGES = noise(3, 40)


def test_the_image_itself_comes_first_and_every_view_has_its_form() -> None:
    found = list(views_of(IMAGES, list(VIEWS)))
    assert np.array_equal(found[0], IMAGES)
    assert len(found) == 1 + 1 + 5 + 2 + 2
    assert all(view.shape == IMAGES.shape and view.dtype == np.uint8 for view in found)
    assert all(not np.array_equal(view, IMAGES) for view in found[1:])


def test_a_flip_is_a_mirror_and_jitter_is_lighter_then_darker() -> None:
    _, flipped = views_of(IMAGES, ["flip"])
    assert np.array_equal(flipped, IMAGES[:, :, ::-1])
    _, lighter, darker = views_of(IMAGES, ["jitter"])
    assert darker.mean() < IMAGES.mean() < lighter.mean()


def test_crops_show_the_corners_larger() -> None:
    marked = np.zeros((1, 64, 64, 3), dtype=np.uint8)
    marked[0, :8, :8] = 255
    _, *crops = views_of(marked, ["crops"])
    bright = [float(crop[0, :9, :9].mean()) for crop in crops]
    assert bright[0] > 240 and bright[3] < 10  # top left, bottom right


def test_an_unknown_view_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ParamsError, match="expected some of flip, crops, jitter, affine, found turn"):
        list(views_of(IMAGES, ["turn"]))
