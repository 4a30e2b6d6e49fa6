"""Large sets in part files behind an index: the whole contract, with sets of more than 16 rows cut into parts of 8."""

import os
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from PIL import Image

import pipeline.runtime.workers as workers_module
from cache.errors import DamagedFile
from cache.maintenance import remove_parts, stored_paths, verify
from cache.reader import read_features, read_images, read_set
from cache.records import ImageSet

SEED = 20261127
KILLS = 4  # of each stage; `--kills N` for more
TRAIN = 24
PARTS = TRAIN // 8
CUT = ("augment", "featurize")
STAGES = ("prepare", *CUT)
NAMES = ("train-unaugmented", "train-spatial_1", "train-color_1")
COLOR_ALONE = ("augment.variants=[color_1]", "train_head.schedule=[color_1 x 1]", "train_model.recipe=none")
Start = Callable[..., Any]


@pytest.fixture(scope="module")
def whole(reference: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What an undisturbed run makes if sets are cut."""
    place = replace(reference.elsewhere(tmp_path_factory.mktemp("whole")), part_rows=8)
    place.run("prepare")
    assert place.run("augment") == 2 * 36
    assert place.run("featurize") == 3 * 36
    return place


@pytest.fixture
def cut(place: Any, whole: Any) -> Any:
    """The same photos, prepared, nothing else made of them yet."""
    place.adopt(whole, "prepare")
    return replace(place, part_rows=8)


@pytest.fixture
def finished(place: Any, whole: Any) -> Any:
    """A place of its own where everything has been made."""
    place.adopt(whole, "prepare", *CUT, store=True)
    return replace(place, part_rows=8)


def part_files(place: Any, stage: str) -> list[Path]:
    return sorted(place.data.glob(f"{stage}/*.parts/*.h5"))


def test_large_sets_are_cut_and_small_ones_are_the_same_files(whole: Any, reference: Any) -> None:
    assert [len(part_files(whole, stage)) for stage in STAGES] == [PARTS, 2 * PARTS, 3 * PARTS]
    contents = whole.contents(*STAGES)
    for name, content in reference.contents(*STAGES).items():
        assert (contents[name] == content) == ("train" not in name)


def test_rows_identity_and_digests_are_those_of_plain_files(whole: Any, reference: Any) -> None:
    for name in NAMES:
        plain = read_features(reference.data / "featurize" / f"{name}.h5")
        large = read_features(whole.data / "featurize" / f"{name}.h5")
        assert np.array_equal(large.features[:], plain.features[:])
        assert np.array_equal(large.features.digests, plain.features.digests)  # type: ignore[attr-defined]
        assert (large.labels.tolist(), large.ids.tolist()) == (plain.labels.tolist(), plain.ids.tolist())
        assert (large.classes, large.variant, large.recipe) == (plain.classes, plain.variant, plain.recipe)
    for name in ("prepare/train", *(f"augment/{name}" for name in NAMES[1:])):
        plain_images = read_images(reference.data / f"{name}.h5")
        images = read_images(whole.data / f"{name}.h5")
        assert np.array_equal(images.images[:], plain_images.images[:])
        assert np.array_equal(images.keys(), plain_images.keys())
        assert np.array_equal(images.ids, plain_images.ids)


def test_a_part_is_written_once_by_whoever_computed_it(whole: Any) -> None:
    stored = {path.stat().st_ino for path in (whole.store / "features").glob("*/*.h5")}
    assert {path.stat().st_ino for path in part_files(whole, "featurize")} <= stored


def test_any_program_reads_the_rows_of_an_index(whole: Any, reference: Any) -> None:
    with (
        h5py.File(whole.data / "featurize" / "train-color_1.h5") as large,
        h5py.File(reference.data / "featurize" / "train-color_1.h5") as plain,
    ):
        assert np.array_equal(large["rows"][...], plain["rows"][...])


@pytest.mark.parametrize(
    ("workers", "rows_per_task"),
    [(1, 3), (1, 8), (1, 64), (2, 8), *(pytest.param(2, rows, marks=pytest.mark.long) for rows in (3, 64))],
)
def test_workers_and_rows_per_task_do_not_change_a_byte(
    cut: Any, whole: Any, rows_per_task: int, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers_module, "STARTUP_SECONDS", -1.0)
    for stage in CUT:
        cut.run(stage, f"{stage}.rows_per_task={rows_per_task}", f"{stage}.workers={workers}")
    assert cut.contents(*CUT) == whole.contents(*CUT)


@pytest.mark.parametrize("prepared", ["whole", "reference"])
def test_what_is_made_does_not_depend_on_how_prepared_images_lie(
    prepared: str, place: Any, whole: Any, request: pytest.FixtureRequest
) -> None:
    place.adopt(request.getfixturevalue(prepared), "prepare")
    cut = replace(place, part_rows=8)
    cut.run("augment", "augment.keep=nothing")
    cut.run("featurize")
    assert cut.contents("featurize") == whole.contents("featurize")


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_killed_at_random_moments_ends_as_if_it_had_not_been(
    stage: str, cut: Any, whole: Any, start: Start, pytestconfig: pytest.Config
) -> None:
    cut.adopt(whole, *STAGES[1 : STAGES.index(stage)])
    quiet = start(cut, stage)
    assert quiet.wait() == 0, quiet.text
    duration = time.perf_counter() - quiet.started
    random = np.random.default_rng([SEED, STAGES.index(stage)])
    kills = 0
    while kills < max(KILLS, pytestconfig.getoption("--kills") // 10):
        shutil.rmtree(cut.data / stage, ignore_errors=True)
        shutil.rmtree(cut.store / "features", ignore_errors=True)
        for _ in range(2):
            child = start(cut, stage)
            time.sleep(random.uniform(0, duration))
            child.send(signal.SIGKILL)
            kills += child.wait() == -signal.SIGKILL
        again = start(cut, stage)
        assert again.wait() == 0, again.text
        assert cut.contents(stage) == whole.contents(stage)


def draw(path: Path, seed: int) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (30, 33, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


@pytest.mark.parametrize(("name", "kept"), [("ant/3.png", PARTS - 1), ("ant/new.png", 0)])
def test_one_photo_costs_itself_alone_and_ends_as_a_run_from_scratch(
    finished: Any, name: str, kept: int, tmp_path: Path
) -> None:
    before = {path.name for stage in CUT for path in part_files(finished, stage)}
    draw(finished.photos / "train" / name, 1000)
    assert finished.run_all() == (2, 3)
    scratch = finished.elsewhere(tmp_path / "scratch")
    scratch.run_all()
    assert finished.contents("prepare", *CUT) == scratch.contents("prepare", *CUT)
    after = {path.name for stage in CUT for path in part_files(finished, stage)}
    assert len(before & after) >= 5 * kept


def test_outputs_are_complete_without_the_store_and_wherever_they_are_copied(finished: Any, tmp_path: Path) -> None:
    expected = read_features(finished.data / "featurize" / "train-color_1.h5").features[:]
    assert verify(finished.store) == []
    remove_parts(stored_paths(finished.store))
    moved = tmp_path / "moved"
    shutil.copytree(finished.data / "featurize", moved)
    shutil.rmtree(finished.data)
    assert np.array_equal(read_features(moved / "train-color_1.h5").features[:], expected)


def test_a_damaged_part_of_the_store_is_refused_by_name_and_computed_again(finished: Any, whole: Any) -> None:
    path = max((finished.store / "features").glob("*/*.h5"), key=lambda part: part.stat().st_size)
    content = bytearray(path.read_bytes())
    with h5py.File(path) as part:
        content[part["rows"].id.get_offset()] ^= 1
    path.write_bytes(content)
    with pytest.raises(DamagedFile, match=rf"features/.*/{path.name} row 0: row does not match its checksum"):
        finished.run("featurize")
    path.unlink()
    assert finished.run("featurize") == 8
    assert finished.contents("featurize") == whole.contents("featurize")


def test_nothing_is_left_of_parts_that_are_no_longer_wanted(finished: Any, whole: Any) -> None:
    finished.run("augment", "augment.keep=nothing")
    assert not list(finished.data.glob("augment/*.parts"))
    assert finished.run("augment") == 2 * 36
    assert finished.contents("augment") == whole.contents("augment")
    finished.run("augment", *COLOR_ALONE)
    assert [path.name for path in finished.data.glob("augment/*.parts")] == ["train-color_1.parts"]
    stray = finished.data / "augment" / "train-color_1.parts" / "stray.h5"
    stray.write_bytes(b"half")
    finished.run("augment", *COLOR_ALONE)
    assert not stray.exists()


def test_another_recipe_leaves_the_old_set_whole_until_the_new_one_is(finished: Any, start: Start) -> None:
    """Part files of different recipes have different names, so an index never lists a file that became another."""
    old = read_set(finished.data / "augment" / "train-color_1.h5")
    assert isinstance(old, ImageSet)
    expected = old.images[:]
    names = {path.name for path in part_files(finished, "augment")}
    finished.run("augment", "augment.seed=99")
    assert not names & {path.name for path in part_files(finished, "augment")}
    again = read_images(finished.data / "augment" / "train-color_1.h5").images[:]
    assert not np.array_equal(again, expected)


def test_a_disk_without_hard_links_gets_copies(cut: Any, whole: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "link", refuse)
    cut.run("augment")
    cut.run("featurize")
    assert cut.contents(*CUT) == whole.contents(*CUT)


def test_heads_train_on_large_sets_as_on_plain_ones(finished: Any, reference: Any) -> None:
    finished.run("train_head")
    assert finished.contents("train_head") == reference.contents("train_head")
