"""Every file of a source gets a line: a prediction, or the reason why there is none."""

import csv
import io
import os
import tarfile
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from bundles import CLASSES, tiny_bundle
from pictures import packed, textured
from PIL import Image
from rounding import of_sums

from cache.errors import InputError
from pipeline.inference import predict
from pipeline.inference.answers import Answerer
from pipeline.inference.bundle import Bundle
from pipeline.inference.predict import (
    FilePrediction,
    Predictor,
    check_submission_ids,
    images_of,
    label_of,
    list_images,
    predictions_csv,
    submission_csv,
    summary_of,
)
from pipeline.ingest.decode import DecodeOptions


def predict_files(
    source: str,
    bundle: Bundle,
    top: int,
    advance: Callable[[int], object] = lambda count: None,
    options: DecodeOptions | None = None,
) -> list[FilePrediction]:
    """Without anything that tells images of no class."""
    return predict.predict_files(source, Predictor(Answerer(bundle, bundle.views), top, None, options), advance)


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return tiny_bundle()


def test_labels_come_from_folders_and_the_likeliest_classes_first(photos: Path, bundle: Bundle) -> None:
    files = predict_files(str(photos), bundle, top=2)
    assert [file.path for file in files] == sorted(f"{name}/{name}_{n}.png" for name in CLASSES for n in range(10))
    assert all(file.label == file.path.split("/")[0] for file in files)
    assert all(len(file.classes) == 2 and file.probabilities[0] >= file.probabilities[1] for file in files)


def test_a_folder_an_archive_a_pattern_and_one_file_give_the_same(
    photos: Path, bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = predict_files(str(photos), bundle, 3)
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as archive:
        for path in photos.rglob("*.png"):
            archive.write(path, path.relative_to(photos))
    assert predict_files(str(tmp_path / "photos.zip"), bundle, 3) == folder
    pattern = predict_files(f"{photos}/*/*.png", bundle, 3)
    assert [file.probabilities for file in pattern] == [file.probabilities for file in folder]
    (single,) = predict_files(str(photos / "bee" / "bee_3.png"), bundle, 3)
    expected = next(file for file in folder if file.path == "bee/bee_3.png")
    assert single.probabilities == pytest.approx(expected.probabilities, abs=of_sums(8))
    monkeypatch.setattr(predict, "CHUNK", 7)
    for piecewise, whole in zip(predict_files(str(photos), bundle, 3), folder, strict=True):
        assert piecewise.probabilities == pytest.approx(whole.probabilities, abs=of_sums(8))


def test_unreadable_files_are_listed_and_other_files_passed_over(photos: Path, bundle: Bundle) -> None:
    (photos / "ant" / "broken.jpg").write_bytes(b"not an image")
    (photos / "ant" / "empty.png").touch()
    (photos / "notes.txt").write_text("x")
    (photos / ".hidden.png").write_bytes(b"x")
    files = predict_files(str(photos), bundle, 1)
    assert len(files) == 32
    reasons = {file.path: file.error for file in files if file.error}
    assert set(reasons) == {"ant/broken.jpg", "ant/empty.png"} and reasons["ant/empty.png"] == "is empty"
    passed_over = list_images(str(photos)).passed_over
    assert passed_over == Counter({".txt": 1})
    summary = summary_of(files, passed_over)
    assert summary.startswith("30 images; 2 unreadable files; 1 other file (.txt 1) passed over; ")
    counts = Counter(file.classes[0] for file in files if not file.error)
    assert all(f"{count} {name}" in summary for name, count in counts.items()) and "; top-1 " in summary


def test_a_summary_counts_images_that_are_unlike_all_classes() -> None:
    scores = (0.5, 0.9499, 0.95, 1.0, None)
    files = [FilePrediction(f"{score}.png", "", ("ant",), (0.9,), unknown=score) for score in scores]
    assert summary_of(files) == "5 images; 5 ant; 2 unlike all classes (column unknown: 0.95 or more)"
    assert summary_of(files[:2]) == "2 images; 2 ant"


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
    (tmp_path / "nothing" / "notes.txt").touch()
    with pytest.raises(InputError, match=r"holds no images; expected .* found 1 other file \(\.txt 1\)"):
        list_images(str(tmp_path / "nothing"))
    for missing in (tmp_path / "gone", tmp_path / "gone" / "a.jpg", tmp_path / "nothing" / "notes.txt" / "a"):
        with pytest.raises(InputError, match=r"no such folder, archive or image\. Check the path\."):
            predict_files(str(missing), bundle, 1)
    with pytest.raises(InputError, match="no archive"):
        predict_files(str(tmp_path / "nothing" / "notes.txt"), bundle, 1)


@pytest.mark.parametrize("name", ["photo", "photo.jpeg ", "PHOTO.JPG", "photo.data"])
def test_a_named_image_is_read_whatever_its_ending(bundle: Bundle, tmp_path: Path, name: str) -> None:
    Image.new("RGB", (40, 30), "red").save(tmp_path / name, "JPEG")
    for source in (tmp_path / name, f"{tmp_path}/[pP]*"):
        (file,) = predict_files(str(source), bundle, 1)
        assert file.classes and not file.error


def test_images_without_an_ending_are_known_by_their_content(photos: Path, bundle: Bundle, tmp_path: Path) -> None:
    (photos / "ant" / "ant_0.png").rename(photos / "ant" / "0000")
    (photos / "LICENSE").write_text("words")
    (photos / "ant" / "noise").write_bytes(bytes(range(256)))
    with tarfile.open(tmp_path / "photos.tar.gz", "w:gz") as archive:
        archive.add(photos, ".")
    for source in (photos, tmp_path / "photos.tar.gz"):
        listing = list_images(str(source))
        assert "ant/0000" in listing.images and len(listing.images) == 30
        assert listing.passed_over == Counter({"no ending": 2})
    assert len(predict_files(str(photos), bundle, 1)) == 30


def test_folders_above_the_source_label_nothing(photos: Path, bundle: Bundle) -> None:
    inside = photos / "cow" / "new" / "bee"
    inside.mkdir(parents=True)
    (photos / "ant" / "ant_0.png").rename(inside / "a.png")
    for source, label in (
        (f"{photos}/cow/new/bee/a.png", ""),
        (f"{photos}/cow/new/bee", ""),
        (f"{photos}/cow/new/bee/*.png", ""),
        (f"{photos}/cow/new/*/*.png", "bee"),
        (f"{photos}/cow/new", "bee"),
        (f"{photos}/cow/**/a.png", "bee"),
    ):
        (file,) = [file for file in predict_files(source, bundle, 1) if file.path.endswith("a.png")]
        assert file.label == label, source


STRANGE = (
    b"a,b.png",
    b'quo"te.png',
    b"new\nline.png",
    b"tab\t.png",
    b"\xff\xfe.png",
    b" .png",
    b"=1+1.png",
    "ä😀.png".encode(),
)


@pytest.mark.parametrize("kind", ["folder", "tar", "pattern", "single"])
def test_the_table_survives_any_file_name(bundle: Bundle, tmp_path: Path, kind: str) -> None:
    folder = tmp_path / "strange"
    folder.mkdir()
    for name in STRANGE:
        Image.new("RGB", (32, 32), "red").save(target := io.BytesIO(), "PNG")
        Path(os.fsdecode(os.path.join(os.fsencode(folder), name))).write_bytes(target.getvalue())
    if kind == "tar":
        with tarfile.open(tmp_path / "strange.tar", "w") as archive:
            archive.add(folder, ".")
    paths = [os.fsdecode(os.path.join(os.fsencode(folder), name)) for name in STRANGE]
    by_kind = {"folder": [str(folder)], "tar": [f"{folder}.tar"], "pattern": [f"{folder}/*"], "single": paths}
    files = [file for source in by_kind[kind] for file in predict_files(source, bundle, 1)]
    text = predictions_csv(files, 1).encode().decode()
    rows = list(csv.DictReader(io.StringIO(text)))
    assert len(rows) == len(STRANGE) == len({row["path"] for row in rows})
    assert all(row["class"] and not row["error"] and "\n" not in row["path"] for row in rows)


def test_submission_ids_must_be_unique(photos: Path) -> None:
    check_submission_ids(["a/1.png", "b/2.png"])
    with pytest.raises(InputError, match=r"ids are not unique: .* found a/1\.png and b/1\.png\. Predict each folder"):
        check_submission_ids(["a/1.png", "b/2.png", "b/1.png"])


def test_the_listing_counts_what_is_predicted(photos: Path, bundle: Bundle) -> None:
    counted: list[int] = []
    predict_files(str(photos), bundle, 1, advance=counted.append)
    assert sum(counted) == len(list_images(str(photos)).images) == 30


def test_the_innermost_folder_named_like_a_class_is_the_label() -> None:
    assert label_of("cow/ant/images/1.png", CLASSES) == "ant"
    assert label_of("ant.png", CLASSES) == label_of("zoo/ant", CLASSES) == ""


def test_a_link_out_of_the_folder_is_not_followed(photos: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret.png"
    secret.write_bytes((photos / "ant" / "ant_0.png").read_bytes())
    (photos / "ant" / "link.png").symlink_to(secret)
    with pytest.raises(InputError, match="leads out of the folder"):
        next(entry for entry in images_of(str(photos)) if entry.name.endswith("link.png")).read()


def test_tables_have_one_line_per_file(photos: Path, bundle: Bundle, make_photos: Callable[..., Path]) -> None:
    (photos / "ant" / "broken.jpg").write_bytes(b"x")
    files = predict_files(str(photos), bundle, 9)
    header, first, *_ = predictions_csv(files, 9).splitlines()
    assert header == "path,label,class,probability,class_2,probability_2,class_3,probability_3,error"
    assert first.startswith("ant/ant_0.png,ant,") and first.endswith(",")
    broken = next(line for line in predictions_csv(files, 9).splitlines() if "broken" in line)
    assert broken == 'ant/broken.jpg,ant,,,,,,,"is no image, or of a format that is not read"'
    unlabelled = make_photos(photos / "new", classes=("unknown",), per_class=2)
    assert predictions_csv(predict_files(str(unlabelled), bundle, 1), 1).startswith("path,class,probability,error\n")
    assert submission_csv(files).splitlines()[0] == "id,label"
    assert "broken.jpg,\n" in submission_csv(files)
