"""What estimate says of images that prepare would refuse."""

from pathlib import Path

import numpy as np
import pytest
from pictures import packed, textured
from PIL import Image

from cache.errors import InputError
from pipeline.config.params import read_params
from pipeline.config.prepare import PrepareConfig
from pipeline.estimate.survey import survey

PARAMS = Path(__file__).resolve().parents[3] / "params.yaml"


def config(source: Path, *more: str) -> PrepareConfig:
    return read_params(PARAMS, [f"prepare.source={source}", "prepare.size=16", *more]).prepare


def damage(path: Path) -> None:
    """Zero some of a PNG's pixels."""
    whole = packed(textured())
    start = whole.index(b"IDAT") + 40
    path.write_bytes(whole[:start] + bytes(60) + whole[start + 60 :])


def test_images_that_cannot_be_read_are_named(photos: Path) -> None:
    damage(photos / "ant" / "ant_1.png")
    (photos / "bee" / "bee_2.png").write_bytes(packed(Image.fromarray(np.full((9, 9), 4000, dtype=np.uint16))))
    seen = survey(config(photos))
    assert len(seen.images) == 28
    assert set(seen.unreadable) == {"ant/ant_1.png", "bee/bee_2.png"}
    assert seen.unreadable_line.startswith("2 of the first 30 images cannot be read: ant/ant_1.png cannot")
    assert set(survey(config(photos, "prepare.bit_depth=12")).unreadable) == {"ant/ant_1.png"}


def test_a_source_of_which_nothing_can_be_read_is_refused_in_one_line(photos: Path) -> None:
    for path in photos.rglob("*.png"):
        damage(path)
    with pytest.raises(InputError, match=r"photos: no image can be read: ant/ant_0.png .*; and 27 more"):
        survey(config(photos))
