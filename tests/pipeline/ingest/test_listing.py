import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from cache.errors import InputError
from pipeline.ingest.listing import list_source


def test_files_that_are_no_images_are_counted_by_folder_and_kind(photos: Path) -> None:
    for name in (
        "ant/notes.txt",
        "ant/Thumbs.db",
        "README",
        "bee/.DS_Store",
        "__MACOSX/ant/a.png",
        "cow/@eaDir/x/a.jpg",
    ):
        (photos / name).parent.mkdir(parents=True, exist_ok=True)
        (photos / name).write_bytes(b"x")
    listing = list_source(str(photos))
    assert listing.ignored == {".txt": 1, "no ending": 1, "hidden": 4}
    assert listing.passed_over == {
        ("ant", ".txt"): 1,
        ("ant", "Thumbs.db"): 1,
        ("", "no ending"): 1,
        ("bee", "hidden"): 1,
        ("", "folder __MACOSX"): 1,
        ("cow", "folder @eaDir"): 1,
    }
    assert len(listing.names) == 30
    assert listing.folders == {"ant", "bee", "cow"}


def test_an_ending_with_a_blank_is_an_ending(photos: Path) -> None:
    for path in list((photos / "ant").iterdir()):
        path.rename(f"{path} ")
    assert len(list_source(str(photos)).names) == 30


@pytest.mark.parametrize("ending", ["", ".bak", ".png_large", "."])
def test_images_under_other_names_are_told_by_their_content(photos: Path, ending: str) -> None:
    (photos / "ant" / "ant_0.png").rename(photos / "ant" / f"photo{ending}")
    (photos / "bee" / "notes").write_text("words")
    kind = ending if len(ending) > 1 else "no ending"
    assert list_source(str(photos)).image_content == {("ant", kind): (f"ant/photo{ending}", "PNG")}


def test_names_keep_the_spelling_of_the_source(tmp_path: Path, make_photos: Callable[..., Path]) -> None:
    make_photos(tmp_path / "set", ("cafe\u0301", "bar"), 1)
    listing = list_source(str(tmp_path / "set"))
    assert listing.spelled("caf\u00e9/cafe\u0301_0.png".replace("e\u0301_", "\u00e9_")) == "cafe\u0301/cafe\u0301_0.png"
    assert listing.spelled("bar/bar_0.png") == "bar/bar_0.png"


def test_two_files_of_one_name_are_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as packed, pytest.warns(UserWarning):
        packed.writestr("a/1.png", "x")
        packed.writestr("a/1.png", "y")
    with pytest.raises(InputError, match=r"holds two files of one name; found a/1\.png"):
        list_source(str(tmp_path / "a.zip"))


def test_images_under_the_ending_of_another_format_are_read_and_named(photos: Path) -> None:
    for path in list((photos / "ant").iterdir()):
        path.rename(path.with_suffix(".jxl"))
    listing = list_source(str(photos))
    assert len(listing.names) == 30
    ((key, (name, format_name)),) = listing.misnamed.items()
    assert key == ("ant", ".jxl") and name.endswith(".jxl") and format_name == "PNG"
