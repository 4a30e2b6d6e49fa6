"""A look says what is there, and names what is wrong."""

import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from cache.errors import InputError
from pipeline.config.params import read_params
from pipeline.config.prepare import PrepareConfig
from pipeline.estimate.look import look_at

ROOT = Path(__file__).parents[3]


def config(source: Path) -> PrepareConfig:
    return read_params(ROOT / "params.yaml", [f"prepare.source={source}"]).prepare


def test_counts_sizes_formats_copies_and_what_cannot_be_read(photos: Path) -> None:
    Image.new("RGB", (400, 100), "red").save(photos / "ant" / "long.jpg")
    shutil.copy(photos / "ant" / "ant_0.png", photos / "ant" / "copy.png")
    (photos / "bee" / "broken.jpg").write_bytes(b"\xff\xd8\xff no image")
    (photos / "cow" / "notes.txt").write_text("x")
    look = look_at(config(photos))
    assert (look.classes, look.images, look.official) == ({"ant": 12, "bee": 10, "cow": 10}, 32, {})
    lines = list(look.lines())
    assert lines[0] == "32 images in 3 classes, 10 to 12 per class"
    assert lines[1] == "formats (all): PNG 31, JPEG 1"
    assert lines[2].startswith("shorter side ") and " to 100 px" in lines[2]
    assert lines[3] == "1 copy of other files, such as ant/ant_0.png and ant/copy.png"
    assert lines[4].startswith("1 more cannot be read: bee/broken.jpg ")
    assert lines[5] == "passed over 1 file ending in .txt (cow 1)"
    assert look.sides.max() == 400


def test_an_archive_is_looked_at_as_its_folder_is(photos: Path, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "photos.tar", "w") as tar:
        tar.add(photos, "photos")
    assert list(look_at(config(tmp_path / "photos.tar")).lines()) == list(look_at(config(photos)).lines())


def test_splits_of_the_source_are_counted_or_refused(make_photos: Callable[..., Path], tmp_path: Path) -> None:
    make_photos(tmp_path / "set" / "train")
    make_photos(tmp_path / "set" / "test", per_class=4, seed=1)
    look = look_at(config(tmp_path / "set"))
    assert (look.images, look.official, look.refused) == (30, {"test": 12}, {})
    shutil.rmtree(tmp_path / "set" / "test" / "cow")
    look = look_at(config(tmp_path / "set"))
    assert look.official == {} and "cow" in look.refused["test"]


def test_a_source_without_any_readable_image_is_refused(photos: Path) -> None:
    for path in photos.rglob("*.png"):
        path.write_bytes(b"x")
    with pytest.raises(InputError, match=r"no image can be read; found ant/ant_0.png .*\. Check the files\."):
        look_at(config(photos))
