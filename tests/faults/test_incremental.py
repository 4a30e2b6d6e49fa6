"""One photo more, less or other costs that photo alone, and gives what a run from scratch gives, bit for bit."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

PHOTOS = 36
VARIANTS = 2
FLIP = "augment.policies.color=[{Fliplr: {p: 1.0}}]"


@pytest.fixture
def copied(place: Any, reference: Any) -> Any:
    """A place where everything has been made once."""
    place.adopt(reference, "prepare", "augment", "featurize", store=True)
    return place


def change(photos: Path) -> None:
    draw(photos / "train" / "ant" / "3.png", 1000)


def add(photos: Path) -> None:
    draw(photos / "test" / "cow" / "new.png", 1001)


def remove(photos: Path) -> None:
    (photos / "train" / "bee" / "0.png").unlink()


def rename(photos: Path) -> None:
    (photos / "val" / "bee" / "1.png").rename(photos / "val" / "bee" / "zebra.png")


def relabel(photos: Path) -> None:
    (photos / "train" / "ant" / "5.png").rename(photos / "train" / "cow" / "was an ant.png")


def draw(path: Path, seed: int) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (30, 33, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


@pytest.mark.parametrize(
    ("edit", "changed"),
    [(change, 1), (add, 1), (remove, 0), (rename, 0), (relabel, 0)],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_one_photo_costs_itself_alone(copied: Any, edit: Callable[[Path], None], changed: int, tmp_path: Path) -> None:
    edit(copied.photos)
    assert copied.run_all() == (VARIANTS * changed, (1 + VARIANTS) * changed)
    scratch = copied.elsewhere(tmp_path / "scratch")
    scratch.run_all()
    assert copied.contents("prepare", "augment", "featurize") == scratch.contents("prepare", "augment", "featurize")


def test_nothing_changed_costs_nothing_and_changes_no_byte(copied: Any, reference: Any) -> None:
    assert copied.run_all() == (0, 0)
    stages = ("prepare", "augment", "featurize")
    assert copied.contents(*stages) == reference.contents(*stages)


def test_a_split_by_fractions_moves_at_most_an_image_at_each_boundary(place: Any, tmp_path: Path) -> None:
    (place.photos / "train").rename(place.photos.parent / "flat")
    flat = ("prepare.val=0.25", "prepare.test=0.25", f"prepare.source={place.photos.parent / 'flat'}")
    place.run_all(*flat)
    draw(place.photos.parent / "flat" / "ant" / "new.png", 1002)
    augmented, featurized = place.run_all(*flat)
    assert VARIANTS <= augmented <= 3 * VARIANTS  # the new one, and what it moved across two boundaries
    assert featurized == 1 + VARIANTS  # what has moved is found by its pixels
    scratch = place.elsewhere(tmp_path / "scratch")
    scratch.run_all(*flat)
    assert place.contents("augment", "featurize") == scratch.contents("augment", "featurize")


def test_another_policy_costs_its_variant_and_going_back_costs_no_features(
    copied: Any, reference: Any, tmp_path: Path
) -> None:
    assert copied.run_all(FLIP) == (PHOTOS, PHOTOS)
    scratch = copied.elsewhere(tmp_path / "scratch")
    scratch.run_all(FLIP)
    assert copied.contents("augment", "featurize") == scratch.contents("augment", "featurize")
    assert copied.run_all() == (PHOTOS, 0)  # augmented images are kept once, feature rows for good
    assert copied.contents("augment", "featurize") == reference.contents("augment", "featurize")


def test_another_setting_of_featurize_and_back_costs_nothing_the_second_time(copied: Any, reference: Any) -> None:
    assert copied.run("featurize", "featurize.dtype=float32") == 3 * PHOTOS
    assert copied.run("featurize") == 0
    assert copied.run("featurize", "featurize.dtype=float32") == 0
    assert copied.run("featurize") == 0
    assert copied.contents("featurize") == reference.contents("featurize")


def test_a_variant_more_costs_itself_and_a_variant_less_nothing(copied: Any, reference: Any) -> None:
    assert copied.run_all("augment.variants=[spatial_1, color_1, color_2]") == (PHOTOS, PHOTOS)
    assert copied.run_all() == (0, 0)
    assert copied.contents("augment", "featurize") == reference.contents("augment", "featurize")
