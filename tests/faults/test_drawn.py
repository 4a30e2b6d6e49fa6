"""Variants without pixels keep the whole contract: the bytes of a run that keeps them, whatever happens meanwhile."""

import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import pipeline.runtime.workers as workers_module
from cache.errors import DamagedFile
from cache.reader import read_file, read_kind

NOTHING = "augment.keep=nothing"
PHOTOS = 36
KILLS = 5
Start = Callable[..., Any]


@pytest.fixture
def drawn(place: Any, reference: Any) -> Any:
    """A place where augment has kept no pixels, and nothing is featurized."""
    place.adopt(reference, "prepare")
    place.run("augment", NOTHING)
    return place


def test_features_are_those_of_kept_pixels_and_no_image_is_written(drawn: Any, reference: Any) -> None:
    assert {read_kind(path) for path in (drawn.data / "augment").iterdir()} == {"variant"}
    assert drawn.run("featurize", NOTHING) == 3 * PHOTOS
    assert drawn.contents("featurize") == reference.contents("featurize")
    assert {path.name for path in drawn.data.iterdir()} == {"prepare", "augment", "featurize"}
    parts = [read_file(path, "part") for path in drawn.store.rglob("*.h5")]
    assert sum(len(part.rows) for part in parts) == 3 * PHOTOS and {part.rows.dtype.str for part in parts} == {"<f2"}


def test_a_warm_cache_draws_nothing(drawn: Any, reference: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(reference.store, drawn.store)  # of a run that kept pixels
    monkeypatch.setattr("pipeline.augmentation.drawn.restore_augmentation", None)
    assert drawn.run("featurize", NOTHING) == 0
    assert drawn.contents("featurize") == reference.contents("featurize")


@pytest.mark.parametrize("memory", ["8", "1e-5"], ids=["in memory", "streamed"])
def test_a_full_model_is_that_of_kept_pixels(drawn: Any, reference: Any, memory: str, tmp_path: Path) -> None:
    expected = reference
    if memory != "8":
        expected = drawn.elsewhere(tmp_path / "kept")
        expected.adopt(reference, "prepare", "augment")
        expected.run("train_model", f"train_model.memory_gb={memory}")
    drawn.run("train_model", NOTHING, f"train_model.memory_gb={memory}")
    assert drawn.contents("train_model") == expected.contents("train_model")


def test_one_photo_costs_itself_alone(drawn: Any, tmp_path: Path) -> None:
    drawn.run("featurize", NOTHING)
    pixels = np.random.default_rng(1000).integers(0, 256, (30, 33, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(drawn.photos / "train" / "ant" / "3.png")
    assert drawn.run_all(NOTHING) == (0, 3)
    scratch = drawn.elsewhere(tmp_path / "scratch")
    scratch.run_all()
    assert drawn.contents("featurize") == scratch.contents("featurize")


def test_keeping_pixels_and_going_back_finds_every_feature_row(drawn: Any, reference: Any) -> None:
    before = drawn.contents("augment")
    assert drawn.run("featurize", NOTHING) == 3 * PHOTOS
    assert drawn.run("augment") == 2 * PHOTOS
    assert drawn.contents("augment") == reference.contents("augment")
    assert drawn.run("featurize") == 0
    assert drawn.run("augment", NOTHING) == 0
    assert drawn.contents("augment") == before
    assert drawn.run("featurize", NOTHING) == 0
    assert drawn.contents("featurize") == reference.contents("featurize")


def test_auto_leaves_pixels_that_are_there(drawn: Any, reference: Any) -> None:
    shutil.rmtree(drawn.data / "augment")
    drawn.adopt(reference, "augment")
    drawn.run("augment", "augment.keep=auto", "train_model.recipe=none")
    assert drawn.contents("augment") == reference.contents("augment")


def test_processes_draw_and_featurize_the_same_bytes(
    drawn: Any, reference: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers_module, "STARTUP_SECONDS", -1.0)
    assert drawn.run("featurize", NOTHING, "featurize.workers=2", "featurize.rows_per_task=5") == 3 * PHOTOS
    assert drawn.contents("featurize") == reference.contents("featurize")


@pytest.mark.parametrize("stage", ["augment", "featurize"])
def test_a_stage_killed_at_random_moments_ends_as_if_it_had_not_been(
    stage: str, drawn: Any, reference: Any, start: Start
) -> None:
    expected = reference.contents("featurize") if stage == "featurize" else drawn.contents("augment")
    shutil.rmtree(drawn.data / stage, ignore_errors=True)
    quiet = start(drawn, stage, NOTHING)
    assert quiet.wait() == 0, quiet.text
    duration = time.perf_counter() - quiet.started
    random = np.random.default_rng(len(stage))
    for _ in range(KILLS):
        shutil.rmtree(drawn.data / stage)
        shutil.rmtree(drawn.store / "features", ignore_errors=True)
        child = start(drawn, stage, NOTHING)
        time.sleep(random.uniform(0, duration))
        child.send(signal.SIGKILL)
        child.wait()
        held = sum(len(read_file(path, "part").rows) for path in (drawn.store / "features").glob("*/*.h5"))
        again = start(drawn, stage, NOTHING)
        assert again.wait() == 0, again.text
        assert drawn.contents(stage) == expected
        assert not [*drawn.data.rglob("*.partial"), *drawn.store.rglob("*.partial")]
        assert stage == "augment" or drawn.computed(stage) == 3 * PHOTOS - held


@pytest.mark.parametrize("file", ["augment/train-color_1.h5", "prepare/train.h5"])
def test_a_flipped_bit_is_refused_before_a_row_is_drawn_from_it(drawn: Any, file: str) -> None:
    path = drawn.data / file
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)
    with pytest.raises(DamagedFile, match=path.name):
        drawn.run("featurize", NOTHING)


def test_prepared_images_that_are_no_longer_those_of_the_variant_are_one_line(drawn: Any, start: Start) -> None:
    (drawn.photos / "train" / "bee" / "0.png").unlink()
    drawn.run("prepare", NOTHING)
    child = start(drawn, "featurize", NOTHING)
    assert child.wait() == 2
    assert child.text == "error: color_1: the variant is of other images than the prepared ones. Run augment again.\n"
