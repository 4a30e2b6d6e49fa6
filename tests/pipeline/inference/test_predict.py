"""Every file of a source gets a line: a prediction, or the reason why there is none."""

import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from bundles import CLASSES, tiny_bundle
from pictures import packed, textured
from PIL import Image

from cache.errors import InputError
from pipeline.inference import predict
from pipeline.inference.bundle import Bundle
from pipeline.inference.predict import images_of, label_of, predict_files, predictions_csv, submission_csv
from pipeline.ingest.decode import DecodeOptions


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return tiny_bundle()


def test_labels_come_from_folders_and_the_likeliest_classes_first(photos: Path, bundle: Bundle) -> None:
    found = predict_files(str(photos), bundle, top=2)
    assert [one.path for one in found] == sorted(f"{name}/{name}_{n}.png" for name in CLASSES for n in range(10))
    assert all(one.label == one.path.split("/")[0] for one in found)
    assert all(len(one.classes) == 2 and one.probabilities[0] >= one.probabilities[1] for one in found)


def test_a_folder_an_archive_a_pattern_and_one_file_give_the_same(
    photos: Path, bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = predict_files(str(photos), bundle, 3)
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as archive:
        for path in photos.rglob("*.png"):
            archive.write(path, path.relative_to(photos))
    assert predict_files(str(tmp_path / "photos.zip"), bundle, 3) == folder
    pattern = predict_files(f"{photos}/*/*.png", bundle, 3)
    assert [one.probabilities for one in pattern] == [one.probabilities for one in folder]
    (one,) = predict_files(str(photos / "bee" / "bee_3.png"), bundle, 3)
    expected = next(each for each in folder if each.path == "bee/bee_3.png")
    assert one.probabilities == pytest.approx(expected.probabilities, abs=1e-6)
    monkeypatch.setattr(predict, "CHUNK", 7)
    for piecewise, whole in zip(predict_files(str(photos), bundle, 3), folder, strict=True):
        assert piecewise.probabilities == pytest.approx(whole.probabilities, abs=1e-6)


def test_unreadable_files_are_listed_and_other_files_passed_over(photos: Path, bundle: Bundle) -> None:
    (photos / "ant" / "broken.jpg").write_bytes(b"not an image")
    (photos / "ant" / "empty.png").touch()
    (photos / "notes.txt").write_text("x")
    (photos / ".hidden.png").write_bytes(b"x")
    found = predict_files(str(photos), bundle, 1)
    assert len(found) == 32
    lost = {one.path: one.error for one in found if one.error}
    assert set(lost) == {"ant/broken.jpg", "ant/empty.png"} and lost["ant/empty.png"] == "is empty"


def test_what_pillow_refuses_is_listed_and_so_is_what_is_in_doubt(photos: Path, bundle: Bundle) -> None:
    whole = packed(textured())
    start = whole.index(b"IDAT") + 40
    (photos / "ant" / "damaged.png").write_bytes(whole[:start] + bytes(60) + whole[start + 60 :])
    (photos / "ant" / "dim.png").write_bytes(packed(Image.fromarray(np.full((9, 9), 4000, dtype=np.uint16))))
    (photos / "ant" / "photo.nef").write_bytes(packed(textured(), "TIFF"))
    errors = {row.path: row.error for row in predict_files(str(photos), bundle, 1) if row.error}
    assert errors["ant/damaged.png"].startswith("cannot be decoded")
    assert "prepare.bit_depth" in errors["ant/dim.png"]
    assert errors["ant/photo.nef"].startswith("is a raw camera file")
    stated = predict_files(str(photos), bundle, 1, options=DecodeOptions(12))
    assert {row.path for row in stated if row.error} == {"ant/damaged.png", "ant/photo.nef"}


def test_a_source_without_images_is_refused(tmp_path: Path, bundle: Bundle) -> None:
    (tmp_path / "nothing").mkdir()
    for source in (tmp_path / "nothing", tmp_path / "*.png"):
        with pytest.raises(InputError, match="holds no images"):
            predict_files(str(source), bundle, 1)
    with pytest.raises(InputError, match="no such folder or archive"):
        predict_files(str(tmp_path / "gone"), bundle, 1)


def test_the_innermost_folder_named_like_a_class_is_the_label() -> None:
    assert label_of("cow/ant/images/1.png", CLASSES) == "ant"
    assert label_of("ant.png", CLASSES) == label_of("zoo/ant", CLASSES) == ""


def test_a_link_out_of_the_folder_is_not_followed(photos: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret.png"
    secret.write_bytes((photos / "ant" / "ant_0.png").read_bytes())
    (photos / "ant" / "link.png").symlink_to(secret)
    with pytest.raises(InputError, match="leads out of the folder"):
        next(entry for entry in images_of(str(photos)) if entry.name.endswith("link.png")).read()


def test_tables_have_a_line_a_file(photos: Path, bundle: Bundle, make_photos: Callable[..., Path]) -> None:
    (photos / "ant" / "broken.jpg").write_bytes(b"x")
    found = predict_files(str(photos), bundle, 9)
    header, first, *_ = predictions_csv(found, 9).splitlines()
    assert header == "path,label,class,probability,class_2,probability_2,class_3,probability_3,error"
    assert first.startswith("ant/ant_0.png,ant,") and first.endswith(",")
    broken = next(line for line in predictions_csv(found, 9).splitlines() if "broken" in line)
    assert broken == 'ant/broken.jpg,ant,,,,,,,"is no image, or of a format that is not read"'
    unlabelled = make_photos(photos / "new", classes=("unknown",), per_class=2)
    assert predictions_csv(predict_files(str(unlabelled), bundle, 1), 1).startswith("path,class,probability,error\n")
    assert submission_csv(found).splitlines()[0] == "id,label"
    assert "broken.jpg,\n" in submission_csv(found)
