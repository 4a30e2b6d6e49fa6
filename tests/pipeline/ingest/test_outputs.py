"""Prepared sets in part files: the rows, order, identity and digests of plain files, each part written once."""

import importlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from PIL import Image

import cache.lay_out as lay_out
import pipeline.runtime.workers as workers_module
from cache import layout
from cache.errors import DamagedFile, InputError, StorageError
from cache.parted import PartedRows
from cache.reader import read_images
from pipeline.ingest import class_groups
from pipeline.ingest.outputs import publish
from stages._cli import Job

PER_PART = 8
SIZES = {"ant": 22, "bee": 13, "cow": 31, "dog": 9}
Prepare = Callable[..., dict[str, bytes]]


@pytest.fixture
def prepare(tmp_path: Path, make_job: Callable[..., Job]) -> Prepare:
    """Run the stage into a data folder, with sets of more than 16 images in parts; every file that it made."""

    def run(name: str, source: Path, *overrides: str, cut: bool = True) -> dict[str, bytes]:
        data = tmp_path / name
        with pytest.MonkeyPatch.context() as patch:
            if cut:
                patch.setattr(layout, "PART_ROWS", dict.fromkeys(layout.PART_ROWS, PER_PART))
                patch.setattr(layout, "LARGE_PARTS", 2)
            chosen = (f"prepare.source={source}", "prepare.size=16", *(f"prepare.{override}" for override in overrides))
            importlib.import_module("stages.prepare").run(make_job("prepare", data, *chosen))
        files = [path for path in sorted((data / "prepare").rglob("*")) if path.is_file()]
        return {path.relative_to(data / "prepare").as_posix(): path.read_bytes() for path in files}

    return run


@pytest.fixture
def many(tmp_path: Path, make_photos: Callable[..., Path]) -> Path:
    """75 photos of four classes."""
    for number, (name, count) in enumerate(SIZES.items()):
        make_photos(tmp_path / "many", (name,), count, seed=number)
    return tmp_path / "many"


@pytest.fixture
def put_together(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many rows each part file of train has that was not linked but written once more."""
    counts: list[int] = []
    write = lay_out.write_file

    def counted(path: Path, kind: str, rows: Any, *more: Any) -> None:
        if path.parent.name == "train.parts":
            counts.append(len(rows))
        write(path, kind, rows, *more)

    monkeypatch.setattr(lay_out, "write_file", counted)
    return counts


def copy(source: Path, target: str, to: str) -> None:
    shutil.copy(source / target, source / to)


def with_copies(source: Path) -> None:
    """Copies within a class, of the same class in another place, and in two classes that contradict each other."""
    copy(source, "ant/ant_0.png", "ant/a copy.png")
    copy(source, "cow/cow_3.png", "cow/z.png")
    copy(source, "bee/bee_1.png", "cow/contradiction.png")


def with_damage(source: Path) -> None:
    (source / "bee" / "bee_7.png").write_bytes(b"no image")
    (source / "cow" / "empty.png").write_bytes(b"")


def with_corrections(source: Path) -> None:
    (source.parent / "corrections.csv").write_text(
        "file,action,label\nant/ant_3.png,relabel,cow\nant/ant_4.png,drop,\ncow/cow_9.png,relabel,ant\n"
    )


def with_splits(source: Path) -> None:
    """Official val and test images, some of which are copies of training images."""
    for name in SIZES:
        photos = sorted((source / name).iterdir())
        for split, few in (("val", photos[:2]), ("test", photos[2:5]), ("train", photos[5:])):
            (source / split / name).mkdir(parents=True)
            for photo in few:
                photo.rename(source / split / name / photo.name)
        (source / name).rmdir()
    copy(source, "test/ant/ant_10.png", "train/ant/leak.png")


def with_table(source: Path) -> None:
    """All photos in one folder in an order that mixes classes, which a table tells."""
    lines = ["file,label"]
    for number, photo in enumerate(sorted(source.rglob("*.png"), key=lambda path: path.name[::-1])):
        lines.append(f"{number}.png,{photo.parent.name}")
        photo.rename(source / f"{number}.png")
    for name in SIZES:
        (source / name).rmdir()
    (source / "labels.csv").write_text("\n".join(lines) + "\n")


CASES: dict[str, tuple[Callable[[Path], None] | None, tuple[str, ...]]] = {
    "plain": (None, ()),
    "train alone": (None, ("val=none", "test=none")),
    "all splits are large": (None, ("val=0.3", "test=0.3")),
    "counts": (None, ("val=2", "test=1", "seed=3")),
    "copies": (with_copies, ()),
    "copies are kept": (with_copies, ("duplicates=keep",)),
    "damage": (with_damage, ("unreadable=allow",)),
    "corrections": (with_corrections, ("relabel={parent}/corrections.csv",)),
    "limit": (None, ("limit_per_class=9",)),
    "limit without a look at copies": (None, ("limit_per_class=9", "duplicates=keep")),
    "imbalance": (None, ("imbalance={{classes: 3, largest: 9, smallest: 8, shape: 1}}", "val=1", "test=1")),
    "imbalance without a look": (
        None,
        ("imbalance={{classes: 3, largest: 9, smallest: 8, shape: 1}}", "val=1", "test=1", "duplicates=keep"),
    ),
    "official splits": (with_splits, ("val=official", "test=official")),
    "official splits are left out": (with_splits, ("val=0.1", "test=none")),
    "table": (with_table, ()),
    "squash": (None, ("fit=squash", "bit_depth=12")),
}


def assert_same_rows(cut: Path, plain: Path) -> None:
    """Equal rows in equal order, identity and digests; and the very bytes of small sets and other files."""
    names = {path.name for path in plain.iterdir()}
    assert {path.name for path in cut.iterdir() if path.is_file()} == names
    for name in names:
        if not name.endswith(".h5"):
            assert (cut / name).read_bytes() == (plain / name).read_bytes()
            continue
        large = read_images(cut / name)
        small = read_images(plain / name)
        assert isinstance(large.images, PartedRows) == (len(small) > 2 * PER_PART)
        if not isinstance(large.images, PartedRows):
            assert (cut / name).read_bytes() == (plain / name).read_bytes()
        assert np.array_equal(large.images[:], small.images[:])
        assert np.array_equal(large.keys(), small.keys())
        assert np.array_equal(large.ids, small.ids)
        assert np.array_equal(large.labels, small.labels)
        assert (large.classes, large.variant, large.recipe) == (small.classes, small.variant, small.recipe)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("kind", ["folder", "zip", "gztar"])
def test_rows_are_those_of_plain_files(case: str, kind: str, many: Path, prepare: Prepare, tmp_path: Path) -> None:
    change, overrides = CASES[case]
    if change:
        change(many)
    chosen = [override.format(parent=tmp_path) for override in overrides]
    source = many if kind == "folder" else Path(shutil.make_archive(str(tmp_path / "many"), kind, many))
    prepare("plain", source, *chosen, cut=False)
    prepare("cut", source, *chosen)
    assert_same_rows(tmp_path / "cut" / "prepare", tmp_path / "plain" / "prepare")


@pytest.mark.parametrize("case", CASES)
def test_bytes_do_not_depend_on_who_decoded_what(
    case: str, many: Path, prepare: Prepare, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As an archive, in tasks of whole classes, in tasks of five images, and with part files placed by processes."""
    change, overrides = CASES[case]
    if change:
        change(many)
    chosen = [override.format(parent=tmp_path) for override in overrides]
    expected = prepare("folder", many, *chosen)
    archive = prepare("archive", Path(shutil.make_archive(str(tmp_path / "many"), "zip", many)), *chosen)
    monkeypatch.setattr(class_groups, "GROUP_BYTES", 20 * 16 * 16 * 3)
    monkeypatch.setattr(class_groups, "MOST", 5)
    monkeypatch.setattr(workers_module, "STARTUP_SECONDS", -1.0)
    monkeypatch.setattr(workers_module, "usable_threads", lambda: 2)
    assert prepare("slices", many, *chosen) == expected
    assert archive == expected


@pytest.mark.parametrize(
    ("case", "rows"),
    # of 78 images with copies one in `cow` is also in `bee`, where it belongs to no training row
    [("plain", 0), ("copies", 22), ("copies are kept", 0), ("damage", 0), ("limit", 0), ("official splits", 0)],
)
def test_a_part_is_written_once_by_whoever_decoded_it_unless_copies_lie_elsewhere(
    case: str, rows: int, many: Path, prepare: Prepare, tmp_path: Path, put_together: list[int]
) -> None:
    change, overrides = CASES[case]
    if change:
        change(many)
    prepare("cut", many, *overrides)
    assert len(list((tmp_path / "cut" / "prepare" / "train.parts").iterdir())) >= 5
    assert sum(put_together) == rows


def test_parts_are_put_together_from_an_archive(
    many: Path, prepare: Prepare, tmp_path: Path, put_together: list[int]
) -> None:
    prepare("cut", Path(shutil.make_archive(str(tmp_path / "many"), "tar", many)))
    assert sum(put_together) == len(read_images(tmp_path / "cut" / "prepare" / "train.h5"))


def test_another_program_reads_all_rows_and_nothing_else_is_left(many: Path, prepare: Prepare, tmp_path: Path) -> None:
    prepare("cut", many)
    out = tmp_path / "cut" / "prepare"
    assert {path.name for path in out.iterdir()} == {
        *("train.h5", "train.parts", "val.h5", "test.h5", "files.csv", "manifest.json")
    }
    with h5py.File(out / "train.h5") as file:
        assert np.array_equal(file["rows"][...], read_images(out / "train.h5").images[:])


def test_one_photo_changes_the_parts_of_its_class_alone(many: Path, prepare: Prepare, tmp_path: Path) -> None:
    before = prepare("cut", many)
    Image.fromarray(np.random.default_rng(9).integers(0, 256, (20, 20, 3), dtype=np.uint8)).save(many / "cow/new.png")
    after = prepare("cut", many)
    assert after == prepare("scratch", many)
    labels = read_images(tmp_path / "cut" / "prepare" / "train.h5").labels
    others = [name for name in before if name.startswith("train.parts/") and name in after]
    parts = class_groups.class_starts(labels, 4, PER_PART)
    assert len(others) >= (labels[parts] != 2).sum()


def test_sets_change_between_large_and_small_and_leave_nothing(many: Path, prepare: Prepare, tmp_path: Path) -> None:
    large = prepare("data", many)
    small = prepare("data", many, "limit_per_class=4")
    assert not any(".parts" in name for name in small) and small == prepare("other", many, "limit_per_class=4")
    assert prepare("data", many) == large
    stray = tmp_path / "data" / "prepare" / "train.parts" / "stray.h5"
    stray.write_bytes(b"half")
    assert prepare("data", many) == large


def test_a_failure_leaves_the_old_set_whole(
    many: Path, prepare: Prepare, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = prepare("data", many)

    def full(*_: Any) -> None:
        raise StorageError("disk is full")

    monkeypatch.setattr(lay_out, "link", lambda *_: False)
    monkeypatch.setattr(lay_out, "write_file", full)
    with pytest.raises(StorageError, match="disk is full"):
        prepare("data", many, "seed=5")
    monkeypatch.undo()
    out = tmp_path / "data" / "prepare"
    after = {path.relative_to(out).as_posix(): path.read_bytes() for path in out.rglob("*") if path.is_file()}
    assert after == before
    assert len(read_images(out / "train.h5").images[:]) == len(read_images(out / "train.h5"))


@pytest.mark.parametrize("damage", ["missing", "short", "changed"])
def test_a_damaged_part_is_refused_by_name_and_made_again(
    damage: str, many: Path, prepare: Prepare, tmp_path: Path
) -> None:
    expected = prepare("data", many)
    index = tmp_path / "data" / "prepare" / "train.h5"
    part = sorted(index.with_suffix(".parts").iterdir())[1]
    content = bytearray(part.read_bytes())
    if damage == "missing":
        part.unlink()
    elif damage == "short":
        part.write_bytes(content[:-1])
    else:
        with h5py.File(part) as file:
            content[file["rows"].id.get_offset()] ^= 1
        part.write_bytes(content)
    with pytest.raises(DamagedFile, match=f"train.parts/{part.name}.*Delete .* and run the stage that makes it again"):
        read_images(index).images[:]
    assert prepare("data", many) == expected


def test_a_disk_without_hard_links_gets_copies(many: Path, prepare: Prepare, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = prepare("links", many)
    monkeypatch.setattr(lay_out, "link", lambda *_: False)
    assert prepare("copies", many) == expected


def test_space_is_asked_for_once_if_parts_are_linked(
    many: Path, prepare: Prepare, monkeypatch: pytest.MonkeyPatch
) -> None:
    needed: list[int] = []
    monkeypatch.setattr("pipeline.ingest.read_source.check_space", lambda folder, count: needed.append(count))
    prepare("cut", many)
    prepare("plain", many, cut=False)
    train = 22 - 2 - 4 + 13 - 1 - 3 + 31 - 3 - 6 + 9 - 1 - 2
    assert needed == [(2 * 75 - train) * 16 * 16 * 3, 2 * 75 * 16 * 16 * 3]


def test_a_class_that_cannot_be_split_is_refused_as_ever(many: Path, prepare: Prepare) -> None:
    for photo in sorted((many / "dog").iterdir())[1:]:
        photo.unlink()
    with pytest.raises(InputError, match="class dog: too few images to split"):
        prepare("cut", many)


def test_publishing_removes_sets_that_are_no_longer_made(tmp_path: Path) -> None:
    out = tmp_path / "out"
    scratch = tmp_path / "scratch"
    (out / "val.parts").mkdir(parents=True)
    scratch.mkdir()
    for name in ("val.h5", "train.h5", "val.parts/a.h5"):
        (out / name).write_text("old")
    (scratch / "train.h5").write_text("new")
    publish(scratch, out, ["train.h5"])
    assert [(path.name, path.read_text()) for path in out.iterdir()] == [("train.h5", "new")]
