"""Whether pixels are kept: what params.yaml says, else what is the faster way and fits the disk."""

from pathlib import Path

import numpy as np
import pytest

from cache.records import ImageSet
from pipeline.augmentation import keep as keep_module
from pipeline.augmentation.augment import make_outputs, space_for
from pipeline.augmentation.keep import Keep, ModelReading, choose_keep
from pipeline.augmentation.policy import make_augmentation
from pipeline.config.params import read_params
from pipeline.config.shared.schedule import Phase

ROOT = Path(__file__).resolve().parents[3]
ROWS = {"train": 100_000, "val": 1_000, "test": 1_000}
PLENTY = 1e15
NO_MODEL = ModelReading([], 1, 8e9)


def choice(*overrides: str, reading: ModelReading = NO_MODEL, free: float = PLENTY) -> Keep:
    fixed = ("augment.variants=[spatial_1, color_1]", "train_head.schedule=[unaugmented x 1]")
    config = read_params(ROOT / "params.yaml", [*fixed, *overrides]).augment
    augmentations = [make_augmentation(config, variant) for variant in config.variants]
    return choose_keep(config, augmentations, ROWS, reading, free)


@pytest.fixture(autouse=True)
def two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keep_module, "usable_threads", lambda: 2)


@pytest.mark.parametrize("said", ["pixels", "nothing"])
def test_what_params_say_is_done_without_a_word(said: str) -> None:
    keep = choice(f"augment.keep={said}", free=0)
    assert (keep.choice, keep.reason, keep.is_auto) == (said, "", False)


def test_nothing_is_kept_if_only_heads_are_trained() -> None:
    keep = choice()
    assert keep.choice == "nothing" and "only heads are trained" in keep.reason


def test_a_model_that_reads_small_images_often_has_them_kept() -> None:
    often = ModelReading([Phase("all", 30)], 1, 1e6)
    keep = choice("augment.size=32", reading=often)
    assert keep.choice == "pixels" and "0.6 GB" in keep.reason and keep.is_auto


def test_large_images_that_fit_memory_are_drawn_again() -> None:
    once = ModelReading([Phase("spatial_1", 9)], 1, 1e12)
    assert choice("augment.size=224", reading=once).choice == "nothing"
    assert choice("augment.size=224", reading=ModelReading([Phase("spatial_1", 90)], 1, 1e6)).choice == "pixels"


def test_a_disk_that_they_would_fill_is_left_alone() -> None:
    often = ModelReading([Phase("all", 30)], 1, 1e6)
    keep = choice("augment.size=32", reading=often, free=1e9)
    assert keep.choice == "nothing" and "fill the disk" in keep.reason


def test_a_model_on_unaugmented_images_draws_only_what_is_evaluated() -> None:
    keep = choice("augment.size=224", reading=ModelReading([Phase("unaugmented", 90)], 1, 1e6))
    assert keep.choice == "nothing"


def test_space_is_that_of_pixels_twice_for_one_file_and_of_identity_alone(tmp_path: Path) -> None:
    config = read_params(ROOT / "params.yaml", ["augment.size=32"]).augment
    images = ImageSet(np.zeros((10, 8, 8, 3), np.uint8), np.zeros(10, int), np.array([b"a"] * 10), ("x",))
    outputs = make_outputs(tmp_path, {"train": images}, [make_augmentation(config, f"color_{draw}") for draw in (1, 2)])
    assert space_for(outputs, Keep("nothing")) == 2 * 10 * (8 + 64 + 32)
    assert space_for(outputs, Keep("pixels")) == 2 * 10 * (8 + 64 + 32) + 3 * 10 * 32 * 32 * 3
    assert space_for([], Keep("pixels")) == 0
