import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from cache.errors import InputError
from pipeline.ingest.layouts import match_layout
from pipeline.ingest.listing import Listing, list_source
from pipeline.ingest.passed_over import PassedOver, describe_listing, find_passed_over


def passed_over(source: Path) -> PassedOver:
    listing = list_source(str(source))
    return find_passed_over(listing, match_layout(listing.names, listing.annotations, {"train"}))


def lines(source: Path) -> list[str]:
    return list(passed_over(source).lines())


def test_nothing_is_said_of_a_source_of_images_alone(photos: Path) -> None:
    assert lines(photos) == []


def test_every_ending_is_told_by_class(photos: Path) -> None:
    for name in ("ant/a.txt", "ant/b.txt", "cow/c.txt", "ant/x", "notes.md"):
        (photos / name).write_text("words")
    assert passed_over(photos).files == {
        "ant": {".txt": 2, "no ending": 1},
        "cow": {".txt": 1},
        "outside class folders": {".md": 1},
    }
    assert lines(photos) == [
        "passed over 3 files ending in .txt (ant 2, cow 1)",
        "passed over 1 file ending in .md (outside class folders 1)",
        "passed over 1 file without an ending (ant 1)",
    ]


def test_what_the_system_keeps_is_told_and_no_class(photos: Path) -> None:
    for folder in ("@eaDir/ant_0.png", "ant/@eaDir", "#recycle", ".thumbnails", "__MACOSX/ant"):
        (photos / folder).mkdir(parents=True)
        shutil.copy(photos / "ant" / "ant_0.png", photos / folder / "thumb.png")
    listing = list_source(str(photos))
    assert match_layout(listing.names, {}, {"train"}).classes == ("ant", "bee", "cow")
    assert len(listing.names) == 30
    assert lines(photos) == [
        "passed over 2 files in @eaDir (ant 1, outside class folders 1)",
        "passed over 1 file in #recycle (outside class folders 1)",
        "passed over 1 file in .thumbnails (outside class folders 1)",
        "passed over 1 file in __MACOSX (outside class folders 1)",
    ]


def test_folders_that_make_no_class_are_named(photos: Path) -> None:
    (photos / "dog" / "deep").mkdir(parents=True)
    (photos / "ant" / "empty").mkdir()
    (photos / "labels").mkdir()
    (photos / "labels" / "1.txt").write_text("words")
    assert passed_over(photos).without_images == {"dog": "it is empty", "labels": "1 file ending in .txt"}
    line = "no class is made of folders without images: dog (it is empty), labels (1 file ending in .txt)"
    assert lines(photos)[-1] == line


def test_an_empty_class_and_an_empty_split_are_named(make_photos: Callable[..., Path], tmp_path: Path) -> None:
    make_photos(tmp_path / "set" / "train")
    (tmp_path / "set" / "train" / "dog").mkdir()
    (tmp_path / "set" / "test").mkdir()
    assert passed_over(tmp_path / "set").without_images == {"dog": "it is empty", "test": "it is empty"}


def test_official_splits_that_are_not_used_are_told(make_photos: Callable[..., Path], tmp_path: Path) -> None:
    make_photos(tmp_path / "set" / "Train")
    make_photos(tmp_path / "set" / "Test", per_class=2)
    assert lines(tmp_path / "set") == [
        "left out 6 images of the source's own test split, which prepare.test=official would use"
    ]


@pytest.mark.parametrize("ending", ["", ".bak", ".xyz", ".jpg_large"])
def test_a_class_whose_images_have_other_endings_stops_the_stage(photos: Path, ending: str) -> None:
    for path in list((photos / "cow").iterdir()):
        path.rename(path.with_suffix(ending))
    kind = f"ending in {ending}" if ending else "without an ending"
    with pytest.raises(
        InputError, match=f"class cow would be lost: .*; found 10 files {kind}, of which .* is PNG by its"
    ):
        passed_over(photos)


def test_single_images_with_other_endings_are_named(photos: Path) -> None:
    (photos / "cow" / "cow_3.png").rename(photos / "cow" / "cow_3")
    assert passed_over(photos).image_content == {"cow/cow_3": "PNG"}
    assert "passed over, though they are images by their content: cow/cow_3 is PNG; rename them to be read" in lines(
        photos
    )


def test_long_lists_are_cut_on_the_terminal_only(photos: Path) -> None:
    for number in range(30):
        (photos / f"empty_{number:02d}").mkdir()
        (photos / "ant" / f"file.{number:02d}x").write_text("words")
    assert len(passed_over(photos).without_images) == 30
    assert len(passed_over(photos).files["ant"]) == 30
    assert len(lines(photos)) == 7
    assert lines(photos)[5].startswith("passed over 25 more: .05x, ") and lines(photos)[5].endswith(" and 20 more")
    assert lines(photos)[6].endswith(" and 25 more")


def test_two_spellings_of_one_folder_are_one_class_and_told(make_photos: Callable[..., Path], tmp_path: Path) -> None:
    make_photos(tmp_path / "set", ("caf\u00e9", "bar"))
    make_photos(tmp_path / "more", ("cafe\u0301",), seed=1)
    (tmp_path / "more" / "cafe\u0301").rename(tmp_path / "set" / "cafe\u0301")
    for number, path in enumerate(list((tmp_path / "set" / "cafe\u0301").iterdir())):
        path.rename(path.with_name(f"other_{number}.png"))
    assert lines(tmp_path / "set") == [
        "folder caf\u00e9 is there in 2 Unicode spellings that look the same; they are read as one"
    ]


def test_a_source_that_fits_no_layout_says_what_it_holds_besides_images(photos: Path) -> None:
    for name in ("ant", "bee"):
        for path in list((photos / name).iterdir()):
            path.rename(path.with_suffix(".xyz"))
    assert describe_listing(list_source(str(photos))) == (
        "Passed over: 10 files ending in .xyz in ant, 10 files ending in .xyz in bee."
    )
    assert describe_listing(Listing()) == ""


def test_a_folder_and_its_archive_pass_over_the_same(photos: Path, tmp_path: Path) -> None:
    for name in ("notes.txt", "ant/a.txt", "ant/photo"):
        shutil.copy(photos / "ant" / "ant_0.png", photos / name)
    (photos / "dog").mkdir()
    packed = shutil.make_archive(str(tmp_path / "packed"), "zip", photos.parent, photos.name)
    assert passed_over(Path(packed)) == passed_over(photos)
