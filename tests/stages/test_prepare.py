import csv
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cache.errors import AugcacheError, InputError, StorageError
from cache.reader import read_images
from cache.records import ImageSet
from cache.writer import write_images
from pipeline.config.params import read_params
from pipeline.features.featurizer import describe_origin
from pipeline.ingest.decode import decode
from stages._cli import Job
from stages.prepare import run

CLONE = Path(__file__).parents[2]


def prepare(data: Path, source: object, *overrides: str) -> str:
    params = read_params(CLONE / "params.yaml", [f"prepare.source={source}", "prepare.size=16", *overrides])
    return run(Job("prepare", params, data, data / "prepare", quiet=True))


def command(data: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "stages.prepare", "--data", str(data), *flags]
    return subprocess.run(line, cwd=CLONE, capture_output=True, text=True, check=False)


def files(data: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((data / "prepare").iterdir())}


def test_prepare_writes_three_sets_and_a_manifest(photos: Path, tmp_path: Path) -> None:
    done = command(tmp_path / "data", "-S", f"prepare.source={photos}", "-S", "prepare.size=16")
    line = "prepare: 30 images in 3 classes: 21 train, 3 val, 6 test; 0 refused, 0 duplicates removed"
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1].startswith(line)
    assert set(files(tmp_path / "data")) == {"train.h5", "val.h5", "test.h5", "manifest.json", "files.csv"}
    sets = {split: read_images(tmp_path / "data" / "prepare" / f"{split}.h5") for split in ("train", "val", "test")}
    assert sets["train"].classes == ("ant", "bee", "cow")
    assert len({id_ for images in sets.values() for id_ in images.ids.tolist()}) == 30
    assert all((images.ids == images.keys()).all() for images in sets.values())
    record = json.loads((tmp_path / "data" / "runs" / "prepare.json").read_text())
    assert record["rows"] == {"train": 21, "val": 3, "test": 6}


def test_equal_input_gives_equal_bytes_from_a_folder_and_its_archive(photos: Path, tmp_path: Path) -> None:
    packed = shutil.make_archive(str(tmp_path / "elsewhere" / "photos"), "xztar", photos.parent, photos.name)
    for data, source in (("one", photos), ("two", photos), ("three", packed)):
        prepare(tmp_path / data, source)
    first, two, three = (files(tmp_path / data) for data in ("one", "two", "three"))
    assert first == two
    paths = three.pop("files.csv").decode()
    assert first.pop("files.csv").decode() == paths.replace(",photos/", ",")  # the archive holds the folder itself
    assert first == three


def test_the_manifest_says_what_is_there_and_what_is_not(photos: Path, tmp_path: Path) -> None:
    shutil.copy(photos / "ant" / "ant_0.png", photos / "ant" / "copy.png")
    shutil.copy(photos / "ant" / "ant_1.png", photos / "bee" / "contradiction.png")
    (photos / "cow" / "broken.png").write_bytes(b"")
    (photos / "notes.txt").write_text("x")
    line = prepare(tmp_path / "data", photos, "prepare.unreadable=allow", "prepare.limit_per_class=5")
    assert line == "24 images in 3 classes: 15 train, 3 val, 6 test; 1 refused, 3 duplicates removed"
    manifest = json.loads(files(tmp_path / "data")["manifest.json"])
    assert manifest["source"] == "photos"
    assert manifest["unreadable"] == {"cow/broken.png": "is empty"}
    assert manifest["ignored"] == {".txt": 1}
    assert manifest["duplicates"] == {
        "removed": 3,
        "removed_for_conflicting_labels": 2,
        "kept_then_removed": [["ant/ant_0.png", "ant/copy.png"]],
        "conflicting": [["ant/ant_1.png", "bee/contradiction.png"]],
    }
    assert manifest["images"] == {"train": 15, "val": 3, "test": 6}
    assert manifest["classes"]["ant"] == {"train": 5, "val": 1, "test": 2}
    assert manifest["beyond_limit"] == 29 - 24


def test_official_test_images_win_over_their_copies_in_train(make_photos: Callable[..., Path], tmp_path: Path) -> None:
    make_photos(tmp_path / "set" / "train")
    make_photos(tmp_path / "set" / "test", per_class=2, seed=1)
    shutil.copy(tmp_path / "set" / "test" / "cow" / "cow_0.png", tmp_path / "set" / "train" / "cow" / "leak.png")
    line = prepare(tmp_path / "data", tmp_path / "set", "prepare.test=official", "prepare.val=none")
    assert line == "36 images in 3 classes: 30 train, 6 test; 0 refused, 1 duplicate removed"
    manifest = json.loads(files(tmp_path / "data")["manifest.json"])
    assert manifest["duplicates"]["kept_then_removed"] == [["test/cow/cow_0.png", "train/cow/leak.png"]]
    assert "val.h5" not in files(tmp_path / "data")


def test_every_row_names_its_file(photos: Path, tmp_path: Path) -> None:
    (photos / "ant" / "ant_0.png").rename(photos / "ant" / 'a, "b".png')
    prepare(tmp_path / "data", photos)
    with (tmp_path / "data" / "prepare" / "files.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["id", "split", "row", "class", "path"]
    assert {row["path"] for row in rows} == {path.relative_to(photos).as_posix() for path in photos.rglob("*.png")}
    for split in ("train", "val", "test"):
        images = read_images(tmp_path / "data" / "prepare" / f"{split}.h5")
        told = [row for row in rows if row["split"] == split]
        assert [int(row["row"]) for row in told] == list(range(len(images)))
        assert [row["id"].encode() for row in told] == images.ids.tolist()
        assert [row["class"] for row in told] == [images.classes[label] for label in images.labels]
        for row, pixels in zip(told, images.images[:], strict=True):
            assert (decode((photos / row["path"]).read_bytes(), 16) == pixels).all()


@pytest.mark.parametrize("folders", [("Train", "Test"), ("TRAINING", "testing"), ("seg_train/seg_train", "seg_test")])
def test_split_folders_become_no_classes(make_photos: Callable[..., Path], tmp_path: Path, folders: list[str]) -> None:
    for number, folder in enumerate(folders):
        make_photos(tmp_path / "set" / folder, seed=number)
    done = command(tmp_path / "data", "-S", f"prepare.source={tmp_path / 'set'}", "-S", "prepare.size=16")
    first, uneven, last = done.stdout.splitlines()
    assert uneven == "prepare: 30 images are not square; their centres are kept, crop (prepare.fit is crop)"
    assert first == "prepare: left out 30 images of the source's own test split, which prepare.test=official would use"
    assert last.startswith("prepare: 30 images in 3 classes: 21 train")
    manifest = json.loads(files(tmp_path / "data")["manifest.json"])
    assert (list(manifest["classes"]), manifest["left_out"]) == (["ant", "bee", "cow"], {"test": 30})


def test_a_folder_of_flat_splits_is_refused_until_the_layout_is_chosen(photos: Path, tmp_path: Path) -> None:
    (photos / "ant").rename(photos / "train")
    (photos / "bee").rename(photos / "test")
    with pytest.raises(InputError, match=r"may be splits or classes.* set prepare.layout to splits or to classes"):
        prepare(tmp_path / "data", photos)
    assert "in 3 classes" in prepare(tmp_path / "data", photos, "prepare.layout=classes")


def test_what_was_passed_over_is_said_and_in_the_manifest(photos: Path, tmp_path: Path) -> None:
    (photos / "ant" / "notes.txt").write_text("words")
    (photos / "dog").mkdir()
    done = command(tmp_path / "data", "-S", f"prepare.source={photos}", "-S", "prepare.size=16")
    assert done.stdout.splitlines()[:2] == [
        "prepare: passed over 1 file ending in .txt (ant 1)",
        "prepare: no class is made of folders without images: dog (it is empty)",
    ]
    manifest = json.loads(files(tmp_path / "data")["manifest.json"])
    assert (manifest["passed_over"], manifest["without_images"]) == ({"ant": {".txt": 1}}, {"dog": "it is empty"})


def test_a_class_of_conflicting_duplicates_is_refused_with_its_cause(photos: Path, tmp_path: Path) -> None:
    for path in (photos / "cow").iterdir():
        shutil.copy(path, photos / "ant" / path.name)
    with pytest.raises(InputError) as caught:
        prepare(tmp_path / "data", photos)
    assert str(caught.value) == (
        "class cow: too few images to split; expected more than 1 test + 1 val, found 0: of its 10 images, 10 have "
        "the same pixels as images of other classes, such as cow/cow_0.png and ant/cow_0.png. "
        "Keep every image in one class and in one split, and mend what cannot be read, or take the class away."
    )


def test_a_class_of_unreadable_images_does_not_vanish(photos: Path, tmp_path: Path) -> None:
    for path in (photos / "cow").iterdir():
        path.write_bytes(b"")
    with pytest.raises(InputError, match=r"class cow: .* of its 10 images, 10 cannot be read"):
        prepare(tmp_path / "data", photos, "prepare.unreadable=allow")


def test_one_more_photo_moves_at_most_one_row_in_each_split(photos: Path, tmp_path: Path) -> None:
    prepare(tmp_path / "one", photos)
    Image.fromarray(np.full((20, 20, 3), 7, dtype=np.uint8)).save(photos / "bee" / "new.png")
    prepare(tmp_path / "two", photos)
    for split in ("train", "val", "test"):
        before, after = (
            set(read_images(tmp_path / run / "prepare" / f"{split}.h5").ids.tolist()) for run in ("one", "two")
        )
        assert len(after - before) <= 1


def test_images_that_cannot_be_read_stop_the_stage_and_lose_nothing(photos: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    prepare(data, photos)
    before = files(data)
    (photos / "ant" / "broken.png").write_bytes(b"")
    with pytest.raises(InputError) as caught:
        prepare(data, photos)
    listed = data / "runs" / "prepare-unreadable.txt"
    assert str(caught.value) == (
        f"1 image cannot be read: ant/broken.png is empty. All are listed in {listed}: "
        "mend or delete them, or set prepare.unreadable to allow."
    )
    assert listed.read_text() == "ant/broken.png: is empty\n"
    assert files(data) == before


def test_what_a_killed_run_left_behind_is_cleared(photos: Path, tmp_path: Path) -> None:
    left = tmp_path / "data" / "prepare" / ".scratch" / "pixels"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"half")
    prepare(tmp_path / "data", photos)
    assert set(files(tmp_path / "data")) == {"train.h5", "val.h5", "test.h5", "manifest.json", "files.csv"}


def test_a_failure_while_writing_loses_nothing(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare(tmp_path / "data", photos)
    before = files(tmp_path / "data")

    def full(path: Path, images: ImageSet) -> None:
        if path.name == "test.h5":
            raise StorageError("disk is full")
        write_images(path, images)

    monkeypatch.setattr("pipeline.ingest.outputs.write_images", full)
    with pytest.raises(StorageError):
        prepare(tmp_path / "data", photos, "prepare.seed=1")
    assert files(tmp_path / "data") == before


@pytest.mark.parametrize(
    ("change", "overrides", "line"),
    [
        (shutil.rmtree, [], "no such folder or archive"),
        (lambda photos: [shutil.rmtree(photos / name) for name in ("ant", "bee")], [], "too few classes"),
        (lambda photos: None, ["prepare.test=official"], "has no official test images"),
        (lambda photos: None, ["prepare.test=10"], "class ant: too few images to split"),
        (lambda photos: None, ["prepare.size=0"], "params.yaml prepare.size"),
        (
            lambda photos: shutil.copy(photos / "ant" / "ant_0.png", photos / "ant" / "copy.png"),
            ["prepare.duplicates=refuse"],
            "pixels repeat; 1 images would be removed; found ant/ant_0.png and ant/copy.png",
        ),
    ],
)
def test_bad_input_is_refused_before_anything_is_written(
    photos: Path, tmp_path: Path, change: Callable[[Path], object], overrides: list[str], line: str
) -> None:
    change(photos)
    with pytest.raises(AugcacheError, match=re.escape(line)):
        prepare(tmp_path / "data", photos, *overrides)
    assert not list(tmp_path.glob("data/prepare/*"))


def test_bad_input_is_one_line_and_exit_code_2(tmp_path: Path) -> None:
    done = command(tmp_path / "data", "-S", "prepare.source=nowhere")
    assert done.returncode == 2
    assert done.stderr == (
        "error: nowhere: no such folder or archive; expected a folder, .zip, .tar, .tar.gz, .tar.bz2, .tar.xz, "
        "or pipeline/digits.txt. Check prepare.source.\n"
    )


def test_the_embedded_digits_need_no_files(tmp_path: Path) -> None:
    line = prepare(tmp_path / "data", "digits")
    assert line == "1,797 images in 10 classes: 1,259 train, 179 val, 359 test; 0 refused, 0 duplicates removed"


def test_help_explains_the_stage(tmp_path: Path) -> None:
    done = command(tmp_path, "--help")
    assert "Tiny ImageNet" in done.stdout
    assert "limit_per_class" in done.stdout


def test_imbalance_keeps_classes_and_counts_by_its_law(photos: Path, tmp_path: Path) -> None:
    law = "prepare.imbalance={classes: 2, largest: 10, smallest: 4, shape: 1}"
    line = prepare(tmp_path / "data", photos, law, "prepare.val=1", "prepare.test=1")
    assert line.startswith("14 images in 2 classes: 10 train, 2 val, 2 test")
    manifest = json.loads((tmp_path / "data" / "prepare" / "manifest.json").read_text(encoding="utf-8"))
    assert sorted(counts["train"] for counts in manifest["classes"].values()) == [2, 8]
    assert manifest["beyond_limit"] == 30 - 14 and manifest["split"]["imbalance"]["smallest"] == 4
    images = read_images(tmp_path / "data" / "prepare" / "train.h5")
    assert len(images.classes) == 2 and set(images.labels.tolist()) == {0, 1}


def test_a_limit_without_looking_for_duplicates_is_counted_and_recorded(photos: Path, tmp_path: Path) -> None:
    chosen = ("prepare.duplicates=keep", "prepare.limit_per_class=2", "prepare.val=none", "prepare.test=3")
    packed = shutil.make_archive(str(tmp_path / "elsewhere" / "photos"), "xztar", photos.parent, photos.name)
    for data, source in (("folder", photos), ("archive", packed)):
        assert prepare(tmp_path / data, source, *chosen).startswith(
            "15 images in 3 classes: 6 train, 9 test; 0 refused"
        )
    manifest = json.loads(files(tmp_path / "folder")["manifest.json"])
    assert manifest["beyond_limit"] == 15 and manifest["split"]["duplicates"] == "keep"
    for name in ("train.h5", "test.h5", "manifest.json"):
        assert files(tmp_path / "folder")[name] == files(tmp_path / "archive")[name]


def test_images_that_are_enlarged_are_said_with_the_remedy(photos: Path, tmp_path: Path) -> None:
    for number, side in enumerate((9, 12)):
        Image.new("RGB", (side, 30), (200, number, 0)).save(photos / "cow" / f"small_{side}.png")
    done = command(tmp_path / "data", "-S", f"prepare.source={photos}", "-S", "prepare.size=16")
    assert done.stdout.splitlines()[0] == (
        "prepare: 2 images are ENLARGED to prepare.size, 16 px; the smallest has 9 px. "
        "To store fewer pixels, set prepare.size, and featurize.size for a faster backbone"
    )


def test_photos_that_a_small_backbone_sees_little_of_are_said(photos: Path, tmp_path: Path) -> None:
    for number in range(40):
        pixels = np.random.default_rng(number).integers(0, 256, (200, 150, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(photos / "cow" / f"large_{number}.png")
    said = command(tmp_path / "data", "-S", f"prepare.source={photos}", "-S", "prepare.size=64").stdout
    assert "half of the images have 150 px or more, and are stored at 64 px." in said
    assert "python -m stages.start" in said
    assert "half of" not in command(tmp_path / "data", "-S", f"prepare.source={photos}", "-S", "prepare.size=80").stdout


def test_sets_carry_the_bit_depth_that_prepare_was_told(photos: Path, tmp_path: Path) -> None:
    prepare(tmp_path / "told", photos, "prepare.bit_depth=12")
    prepare(tmp_path / "auto", photos)
    told, auto = (read_images(tmp_path / name / "prepare" / "train.h5") for name in ("told", "auto"))
    assert told.recipe == auto.recipe | {"bit_depth": 12}
    assert "bit_depth" not in auto.recipe  # whose bytes are those of earlier versions
    assert describe_origin(read_params(CLONE / "params.yaml").featurize, told)["bit_depth"] == 12
