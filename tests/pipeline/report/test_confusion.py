"""Confused classes are put side by side, and what is drawn is what was counted."""

import base64
import io

import numpy as np
from PIL import Image

from pipeline.report.confusion import make_confusion


def groups_of_ten(count: int) -> list[tuple[str, str]]:
    """Classes c0, c1, ... : 8 of 10 images right, 2 taken for another class of the same last digit."""
    random = np.random.default_rng(0)
    pairs = []
    for number in range(count):
        others = [other for other in range(count) if other % 10 == number % 10 and other != number]
        pairs += [(f"c{number}", f"c{number}")] * 8
        pairs += [(f"c{number}", f"c{random.choice(others)}") for _ in range(2)]
    return pairs


def test_few_classes_are_numbers_in_their_own_order() -> None:
    confusion = make_confusion([("b", "a"), ("b", "b"), ("b", "b"), ("a", "a"), ("c", "a")])
    assert confusion is not None
    assert (confusion.classes, confusion.image) == (("a", "b", "c"), "")
    assert confusion.cells.tolist() == [[1, 0, 0], [1, 2, 0], [1, 0, 0]]
    assert dict(confusion.rows)["b"] == [(1, 1 / 3), (2, 2 / 3), (0, 0.0)]
    assert make_confusion([]) is None


def test_many_classes_are_grouped_into_blocks_of_those_confused() -> None:
    confusion = make_confusion(groups_of_ten(200))
    assert confusion is not None
    assert sorted(confusion.classes) == sorted(f"c{number}" for number in range(200))
    assert [name for block in confusion.blocks for name in block] == list(confusion.classes)
    assert 2 <= len(confusion.blocks) <= 12
    within = sum(len({name[-1] for name in block}) for block in confusion.blocks)
    assert within <= 14  # ten groups, hardly any of them torn apart


def test_the_image_is_transparent_where_nothing_was_counted_and_small() -> None:
    confusion = make_confusion(groups_of_ten(200))
    assert confusion is not None
    png = base64.b64decode(confusion.image.partition(",")[2])
    image = np.asarray(Image.open(io.BytesIO(png)))
    step = len(image) // 200
    assert image.shape == (800, 800, 4) and len(png) < 200_000
    middle = image[step // 2 :: step, step // 2 :: step, 3]
    counted = confusion.cells > 0
    assert (middle[counted] > 0).all() and (middle[~counted] == 0).all()
