"""An index lists part files, opens none of them, and refuses what is missing, truncated, swapped or changed."""

import os
import pickle
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import cache.layout as layout
import cache.stored_rows as stored_rows
import cache.writer as writer
from cache.errors import AugcacheError, DamagedFile, ForeignFile
from cache.lay_out import link, part_files, placed_rows
from cache.parted import PartedRows, move_set, part_name, remove_other_parts, remove_other_sets
from cache.parts import PartStore
from cache.reader import keep_sets, read_features, read_file, read_images, read_kind
from cache.records import FeatureSet, ImageSet
from cache.stored_rows import GatheredRows
from cache.writer import write_features, write_file, write_images

ARCHIVE = Path(__file__).parent / "archives" / "version-3"
RECIPE = {"stage": "featurize", "size": 32}
PER_PART = 4
examples = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def laid_out(path: Path, rows: np.ndarray, keys: np.ndarray, recipe: dict[str, Any] = RECIPE) -> PartedRows:
    """Rows in part files of `PER_PART` beside a set's path, by way of a store that holds them in parts of three."""
    store = PartStore(path.parent / "store", recipe)
    for start in range(0, len(keys), 3):
        store.write(keys[start : start + 3], rows[start : start + 3])
    files = list(part_files(path, store.open().rows(keys), keys, recipe, np.arange(0, len(keys), PER_PART)))
    return placed_rows(path, files, [file.place() for file in files])


@pytest.fixture
def features(make_features: Callable[..., FeatureSet]) -> FeatureSet:
    return make_features(10)


@pytest.fixture
def path(tmp_path: Path, features: FeatureSet) -> Path:
    """An index of ten rows in parts of four, four and two."""
    path = tmp_path / "a.h5"
    rows = laid_out(path, features.features[:], features.ids)
    write_features(path, FeatureSet(rows, features.labels, features.ids, features.classes, "color_1", "b", RECIPE))
    return path


def parts_of(path: Path) -> list[Path]:
    """Part files in the order of their rows."""
    rows = read_features(path).features
    assert isinstance(rows, PartedRows)
    return [source.path for source in rows.sources]


def test_rows_come_back_and_the_index_holds_none(path: Path, features: FeatureSet) -> None:
    stored = read_features(path)
    assert np.array_equal(stored.features[:], features.features[:])
    assert np.array_equal(np.asarray(stored.features), features.features[:])
    assert (stored.labels.tolist(), stored.ids.tolist()) == (features.labels.tolist(), features.ids.tolist())
    assert (stored.classes, stored.variant, stored.backbone) == (features.classes, "color_1", "b")
    assert [len(read_file(part, "part").rows) for part in parts_of(path)] == [4, 4, 2]
    assert features.features[:4].tobytes() not in path.read_bytes()
    assert read_kind(path) == "features"


def test_opening_reads_no_part(path: Path, monkeypatch: pytest.MonkeyPatch, features: FeatureSet) -> None:
    opened: list[str] = []
    before = stored_rows.open_raw

    def counted(part: Path) -> Any:
        opened.append(part.name)
        return before(part)

    monkeypatch.setattr(stored_rows, "open_raw", counted)
    rows = read_features(path).features
    assert opened == []
    assert np.array_equal(rows[5:7], features.features[5:7])
    assert opened == [parts_of(path)[1].name]


@examples
@given(data=st.data())
def test_rows_are_indexed_and_chosen_as_numpy_does(data: st.DataObject, path: Path, features: FeatureSet) -> None:
    rows = read_features(path).features
    positions = st.lists(st.integers(-10, 9), max_size=20).map(lambda numbers: np.array(numbers, dtype=np.int64))
    masks = st.lists(st.booleans(), min_size=10, max_size=10).map(np.array)
    index = data.draw(st.one_of(st.slices(10), positions, masks))
    assert np.array_equal(rows[index], features.features[index])
    chosen = np.arange(10)[data.draw(positions)]
    assert isinstance(rows, GatheredRows)
    selected = pickle.loads(pickle.dumps(rows.select(chosen)))
    again = np.array(data.draw(st.permutations(range(len(chosen)))), dtype=np.int64)
    assert np.array_equal(selected[again], features.features[chosen][again])
    assert np.array_equal(selected.select(again)[:], features.features[chosen][again])
    assert np.array_equal(selected.digests, rows.digests[chosen])


def test_a_few_chosen_rows_are_small_to_send(path: Path) -> None:
    rows = read_features(path).features
    assert isinstance(rows, GatheredRows)
    assert rows.select(np.array([9])).sources[0].digests.shape == (1, 32)


def test_any_program_reads_the_rows_wherever_index_and_parts_lie(
    path: Path, features: FeatureSet, tmp_path: Path
) -> None:
    moved = tmp_path / "moved"
    moved.mkdir()
    path.rename(moved / path.name)
    path.with_suffix(".parts").rename(moved / "a.parts")
    with h5py.File(moved / path.name) as file:
        assert np.array_equal(file["rows"][...], features.features[:])


# Refusals


def test_a_missing_part_is_named(path: Path) -> None:
    part = parts_of(path)[1]
    part.unlink()
    message = rf"{part.name}: a part file is missing\. Delete .*a\.h5 and run the stage that makes it again\."
    with pytest.raises(DamagedFile, match=message):
        read_features(path)


def test_a_truncated_part_is_named(path: Path) -> None:
    part = parts_of(path)[2]
    content = part.read_bytes()
    part.write_bytes(content[:-1])
    message = (
        rf"{part.name}: wrong length; expected {len(content):,} bytes, found {len(content) - 1:,}\. Delete .*a\.h5"
    )
    with pytest.raises(DamagedFile, match=message):
        read_features(path)


def test_swapped_parts_are_refused_when_they_are_read(path: Path, tmp_path: Path) -> None:
    first, second, _ = parts_of(path)
    first.rename(tmp_path / "first")
    second.rename(first)
    (tmp_path / "first").rename(second)
    rows = read_features(path).features
    with pytest.raises(DamagedFile, match=rf"{first.name} row 0: row does not match its checksum"):
        rows[:]


def test_a_flipped_bit_in_a_row_is_refused(path: Path, features: FeatureSet) -> None:
    part = parts_of(path)[0]
    content = part.read_bytes()
    place = content.index(features.features[2].tobytes())
    part.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
    rows = read_features(path).features
    assert np.array_equal(rows[:2], features.features[:2])
    with pytest.raises(DamagedFile, match=rf"{part.name} row 2: row does not match its checksum"):
        rows[:]


def test_a_flipped_bit_anywhere_in_the_index_is_refused(path: Path) -> None:
    content = path.read_bytes()
    for place in range(0, len(content), 7):
        path.write_bytes(content[:place] + bytes([content[place] ^ 1 << place % 8]) + content[place + 1 :])
        with pytest.raises(AugcacheError, match=r"a\.h5"):
            read_features(path)


def test_an_index_is_no_part(path: Path, tmp_path: Path, features: FeatureSet) -> None:
    target = tmp_path / "x.h5"
    rows = laid_out(target, features.features[:], features.ids)
    write_file(target, "part", rows, {"keys": features.ids}, {"recipe": RECIPE})
    store = PartStore(tmp_path / "other", RECIPE)
    store.path.mkdir(parents=True)
    target.rename(store.path / "x.h5")
    target.with_suffix(".parts").rename(store.path / "x.parts")
    with pytest.raises(ForeignFile, match=r"x\.h5: a part cannot be the index of others\. Delete it"):
        store.open()


# What is written


def test_equal_content_gives_equal_bytes_whatever_the_stored_parts_were(tmp_path: Path, features: FeatureSet) -> None:
    contents = []
    for name in ("one", "two"):
        store = PartStore(tmp_path / name / "store", RECIPE)
        step = {"one": PER_PART, "two": 7}[name]
        for start in range(0, 10, step):
            store.write(features.ids[start : start + step], features.features[start : start + step])
        target = tmp_path / name / "a.h5"
        files = list(
            part_files(
                target, store.open().rows(features.ids), features.ids, RECIPE, np.arange(0, len(features.ids), PER_PART)
            )
        )
        rows = placed_rows(target, files, [file.place() for file in files])
        write_features(target, FeatureSet(rows, features.labels, features.ids, features.classes, "color_1", "b"))
        names = [target, *sorted(target.with_suffix(".parts").iterdir())]
        contents.append([(name.name, name.read_bytes()) for name in names])
        assert files[0].path.stat().st_nlink == {"one": 2, "two": 1}[name]
    assert contents[0] == contents[1]


def test_a_copy_of_a_large_set_is_a_plain_file(path: Path, tmp_path: Path, features: FeatureSet) -> None:
    write_features(tmp_path / "copy.h5", read_features(path))
    shutil.rmtree(path.with_suffix(".parts"))
    copy = read_features(tmp_path / "copy.h5")
    assert np.array_equal(copy.features[:], features.features[:])
    write_features(tmp_path / "plain.h5", FeatureSet(features.features, *identity_of(copy), "color_1", "b", RECIPE))
    assert (tmp_path / "copy.h5").read_bytes() == (tmp_path / "plain.h5").read_bytes()


def identity_of(features: FeatureSet) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    return features.labels, features.ids, features.classes


def test_a_plain_set_in_the_place_of_a_large_one_leaves_no_part(path: Path, features: FeatureSet) -> None:
    write_features(path, features)
    assert not path.with_suffix(".parts").exists()
    assert np.array_equal(read_features(path).features[:], features.features[:])


def test_parts_that_no_set_lists_are_removed(path: Path, tmp_path: Path, features: FeatureSet) -> None:
    (path.with_suffix(".parts") / "stray.h5.host.1.1.partial").write_bytes(b"half")
    orphan = tmp_path / "gone.parts"
    orphan.mkdir()
    write_features(tmp_path / "other.h5", features)
    other = laid_out(tmp_path / "other.h5", features.features[:], features.ids)
    remove_other_sets(tmp_path, {path})
    assert not orphan.exists()
    assert not other.folder.exists()
    images = tmp_path / "sets" / "i.h5"
    write_images(images, ImageSet(np.zeros((3, 2, 2, 3), np.uint8), *identity_of(features.take(np.arange(3)))))
    (images.with_suffix(".parts")).mkdir()
    (images.with_suffix(".parts") / "0.h5").write_bytes(b"part")
    assert list(keep_sets(images.parent, {images, images.with_name("absent.h5")})) == [images]
    assert not images.with_suffix(".parts").exists()


def test_names_of_parts_follow_from_recipe_and_keys_and_never_change(features: FeatureSet) -> None:
    name = part_name(RECIPE, features.ids[:2])
    assert name == NAME
    assert name != part_name(RECIPE | {"size": 64}, features.ids[:2])
    assert name != part_name(RECIPE, features.ids[1::-1])


NAME = "aa9319ebfdff9de8abc08a9f2901d6e0c531f529722acd68b4e754a7d41211af"


def test_a_link_replaces_what_is_there_and_fails_without_a_trace(tmp_path: Path) -> None:
    source = tmp_path / "a"
    target = tmp_path / "parts" / "b"
    source.write_bytes(b"new")
    target.parent.mkdir()
    target.write_bytes(b"old")
    assert link(source, target)
    assert link(source, target)  # which are one file already
    assert link(target, target)
    assert target.read_bytes() == b"new"
    assert not link(tmp_path / "absent", target)
    assert sorted(os.listdir(tmp_path / "parts")) == ["b"]


def test_only_sets_of_many_parts_are_large() -> None:
    for kind, rows in layout.PART_ROWS.items():
        most = layout.LARGE_PARTS * rows
        assert layout.rows_per_part(kind, most) is None
        assert layout.rows_per_part(kind, most + 1) == rows


@pytest.mark.parametrize(("before", "is_new"), [("_seal", False), ("sync_folder", True), ("remove_other_parts", True)])
def test_death_in_the_writer_leaves_the_old_or_the_new_set_whole(
    path: Path, features: FeatureSet, before: str, is_new: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = {"stage": "other"}
    old = features.features[:]
    rows = laid_out(path, old[::-1], features.ids, other)
    calls = []

    def die(*_: object) -> None:
        calls.append(before)
        if before != "sync_folder" or len(calls) == 2:  # the first one is of the part files
            os.kill(os.getpid(), signal.SIGKILL)

    child = os.fork()
    if not child:
        monkeypatch.setattr(writer, before, die)
        write_features(path, FeatureSet(rows, *identity_of(features), "color_1", "b", other))
        os._exit(0)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL
    assert len(list(path.with_suffix(".parts").iterdir())) == 6
    assert np.array_equal(read_features(path).features[:], old[::-1] if is_new else old)
    remove_other_parts(path, read_features(path).features)
    assert len(list(path.with_suffix(".parts").iterdir())) == 3
    assert np.array_equal(read_features(path).features[:], old[::-1] if is_new else old)


# Files of version 3, for good. Made by `make_archive`; they are never made again.


def archived_features() -> FeatureSet:
    rows = (np.arange(10 * 3, dtype=np.float16) / 4).reshape(10, 3)
    ids = np.array([b"%064x" % number for number in range(10)])
    return FeatureSet(rows, np.arange(10) % 2, ids, ("ant", "bée"), "unaugmented", "efficientnet-b0", {"batch": 64})


def make_archive(folder: Path) -> None:
    features = archived_features()
    rows = laid_out(folder / "features.h5", features.features[:], features.ids, {"batch": 64})
    shutil.rmtree(folder / "store")
    write_features(
        folder / "features.h5",
        FeatureSet(rows, *identity_of(features), "unaugmented", "efficientnet-b0", {"batch": 64}),
    )


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_version_3_is_read_and_written_the_same_for_good(tmp_path: Path) -> None:
    stored = read_features(ARCHIVE / "features.h5")
    expected = archived_features()
    assert np.array_equal(stored.features[:], expected.features)
    assert (stored.labels.tolist(), stored.ids.tolist()) == (expected.labels.tolist(), expected.ids.tolist())
    assert (stored.classes, stored.variant, stored.recipe) == (expected.classes, expected.variant, expected.recipe)
    make_archive(tmp_path)
    assert contents(tmp_path) == contents(ARCHIVE)


def test_images_lie_in_parts_too(tmp_path: Path, make_images: Callable[..., ImageSet]) -> None:
    images = make_images(9)
    rows = laid_out(tmp_path / "i.h5", images.images[:], images.ids)
    write_images(tmp_path / "i.h5", ImageSet(rows, images.labels, images.ids, images.classes))
    stored = read_images(tmp_path / "i.h5")
    assert np.array_equal(stored.images[:], images.images[:])
    assert np.array_equal(stored.keys(), ImageSet(images.images, images.labels, images.ids, images.classes).keys())


def test_a_set_that_is_taken_from_keeps_its_sources_whole(path: Path, features: FeatureSet) -> None:
    rows = read_features(path).features
    assert isinstance(rows, GatheredRows)
    order = np.array([7, 0, 3, 9, 4, 5, 6])
    taken = rows.take(order).take(np.array([4, 5, 6, 0]))
    assert taken.sources == rows.sources
    assert np.array_equal(taken[:], features.features[order[[4, 5, 6, 0]]])
    whole = taken.select(np.arange(4)).whole_file()
    assert whole is not None and whole.path == rows.sources[1].path


@pytest.mark.parametrize("moves", range(5))
def test_a_set_that_is_there_stays_whole_until_the_moved_one_takes_its_place(
    moves: int, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three part files and an index are moved; the disk refuses after some of them."""
    target = tmp_path / "out" / "a.h5"
    old = tmp_path / "old" / "a.h5"
    ids = np.array([b"%064x" % number for number in range(100, 106)])
    rows = laid_out(old, np.ones((6, 8), np.float16), ids)
    identity = (np.zeros(6, int), ids, ("ant",), "color_1", "b")
    write_features(old, FeatureSet(rows, *identity, RECIPE))
    target.parent.mkdir()
    move_set(old, target)
    expected = read_features(path).features[:]
    replace = os.replace
    left = [moves]

    def refuse(source: Path, place: Path) -> None:
        if not left[0]:
            raise OSError("disk")
        left[0] -= 1
        replace(source, place)

    monkeypatch.setattr(os, "replace", refuse)
    if moves < 4:
        with pytest.raises(OSError, match="disk"):
            move_set(path, target)
        assert np.array_equal(read_features(target).features[:], np.ones((6, 8)))
        return
    move_set(path, target)
    assert np.array_equal(read_features(target).features[:], expected)
    assert sorted(part.name for part in target.with_suffix(".parts").iterdir()) == sorted(
        part.name for part in parts_of(target)
    )
    assert not path.exists()
