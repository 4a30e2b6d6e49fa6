"""`python -m stages.predict` with a bundle: its tables, its one line, its refusals."""

import csv
from collections import Counter
from pathlib import Path

import pytest
from bundles import tiny_bundle
from typer.testing import CliRunner, Result

from pipeline.inference.bundle import save_bundle
from stages._predict import is_inside
from stages.predict import app


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundle")
    save_bundle(folder, tiny_bundle(), b"", {})
    return folder


def predict(images: object, bundle: Path, out: Path, *flags: str) -> Result:
    """Predict beside an empty folder of data: what a clone holds must not matter."""
    data = ["--data", str(out.parent / "no data")]
    return CliRunner().invoke(app, ["--images", str(images), "--bundle", str(bundle), "--out", str(out), *data, *flags])


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_the_line_counts_images_unreadable_files_and_labels(photos: Path, bundle: Path, tmp_path: Path) -> None:
    (photos / "ant" / "broken.png").write_bytes(b"x")
    out = tmp_path / "predictions.csv"
    result = predict(photos, bundle, out, "--top", "1", "--tta", "flip, crops")
    assert result.exit_code == 0
    table = rows(out)
    right = sum(row["label"] == row["class"] for row in table)
    counts = Counter(row["class"] for row in table if not row["error"])
    classes = ", ".join(f"{count} {name}" for name, count in counts.most_common())
    start = f"predict: 30 images; 1 unreadable file; {classes}; top-1 {100 * right / 30:.1f} % ["
    assert result.output.startswith(start)
    assert result.output.endswith(f"on 30 with a label, in {out}\n")
    assert list(table[0]) == ["path", "label", "class", "probability", "error"]


def test_a_submission_is_file_name_and_class(photos: Path, bundle: Path, tmp_path: Path) -> None:
    result = predict(photos / "bee", bundle, tmp_path / "submission.csv", "--submission")
    assert result.output.startswith("predict: 10 images; ")
    assert result.output.endswith(f", in {tmp_path}/submission.csv\n")
    table = rows(tmp_path / "submission.csv")
    assert [row["id"] for row in table] == [f"bee_{number}.png" for number in range(10)]
    assert {row["label"] for row in table} <= {"ant", "bee", "cow"}


@pytest.mark.parametrize(
    ("images", "flags", "said"),
    [
        ("gone", (), "gone: no such folder, archive or image"),
        ("photos", ("--tta", "turn"), "views: unknown view; expected some of flip, crops, jitter, affine, found turn"),
        ("photos", ("--views", "auto"), "there is nothing to read. Run prepare."),
        ("photos", ("--bundle", "gone"), "gone: no bundle; expected bundle.json"),
        ("photos", ("--set", "prepare.size=64"), "--set prepare.size: the classifier was trained with another value"),
        ("photos", ("--set", "featurize.size=64"), "expected 32, found 64. Leave it out, or train again with it."),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(
    photos: Path, bundle: Path, tmp_path: Path, images: str, flags: tuple[str, ...], said: str
) -> None:
    out = tmp_path / "predictions.csv"
    out.write_text("of an earlier run")
    result = predict(tmp_path / images, bundle, out, *flags)
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert said in result.stderr
    assert out.read_text() == "of an earlier run"


def test_without_bundle_or_head_the_remedy_is_named(photos: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(
        app, ["--images", str(photos), "--data", str(tmp_path), "--out", str(tmp_path / "a.csv")]
    )
    assert (result.exit_code, result.stderr) == (2, f"error: {tmp_path}/train_head: no classifier. Run train_head.\n")


def test_ids_that_are_not_unique_are_refused_before_the_work(photos: Path, bundle: Path, tmp_path: Path) -> None:
    (photos / "bee" / "bee_1.png").rename(photos / "bee" / "ant_1.png")
    result = predict(photos, bundle, tmp_path / "submission.csv", "--submission")
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert "found ant/ant_1.png and bee/ant_1.png. Predict each folder on its own" in result.stderr


def test_a_target_that_cannot_be_written_is_refused_before_the_work(photos: Path, bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for out in (tmp_path, tmp_path / "file" / "a.csv"):
        result = predict(photos, bundle, out)
        assert (result.exit_code, result.stderr.count("\n")) == (2, 1), result.output


def test_the_projects_classifier_needs_none_of_the_params_that_it_was_trained_with(
    project: list[str], photos: Path, tmp_path: Path
) -> None:
    """The project was trained at 32 pixels with a backbone that params.yaml does not name."""
    bare = project[:2]
    (Path(bare[1]) / "prepare" / "manifest.json").unlink()  # the classifier carries the size itself
    tables = []
    for number, flags in enumerate((project, bare, [*bare, "--views", "none"])):
        out = tmp_path / f"{number}.csv"
        result = CliRunner().invoke(app, ["--images", str(photos), "--out", str(out), *flags])
        assert result.exit_code == 0, result.output
        tables.append(out.read_bytes())
    assert tables[0] == tables[1] == tables[2]
    for key, trained, asked in (("prepare.size", 32, 64), ("featurize.interpolation", "bicubic", "bilinear")):
        flags = ["--images", str(photos), "--out", str(tmp_path / "no.csv"), *bare, "--set", f"{key}={asked}"]
        result = CliRunner().invoke(app, flags)
        assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
        assert f"--set {key}: the classifier was trained with another value; expected {trained}, found {asked}" in (
            result.stderr
        )
    assert not (tmp_path / "no.csv").exists()


def test_of_a_folder_that_grows_only_new_images_are_computed(photos: Path, bundle: Path, tmp_path: Path) -> None:
    late = photos / "cow" / "cow_9.png"
    content = late.read_bytes()
    late.unlink()
    first = predict(photos, bundle, tmp_path / "a.csv")
    assert "answered before" not in first.output
    late.write_bytes(content)
    second = predict(photos, bundle, tmp_path / "b.csv")
    assert ", 29 of them equal to images answered before, in " in second.output
    before = {row["path"]: row for row in rows(tmp_path / "a.csv")}
    assert all(row == before.get(row["path"], row) for row in rows(tmp_path / "b.csv"))


def test_copies_are_sorted_by_class_and_nothing_is_overwritten(photos: Path, bundle: Path, tmp_path: Path) -> None:
    (photos / "ant" / "broken.png").write_bytes(b"x")
    sure = ["--threshold", "0.5", "--sort-into", str(tmp_path / "sorted")]
    result = predict(photos, bundle, tmp_path / "a.csv", *sure)
    assert result.exit_code == 0, result.output
    copies = sorted(path for path in (tmp_path / "sorted").rglob("*") if path.is_file())
    assert len(copies) == 31 and (tmp_path / "sorted" / "_unreadable" / "broken.png").exists()
    table = rows(tmp_path / "a.csv")
    for row in (row for row in table if not row["error"]):
        folder = row["class"] if float(row["probability"]) >= 0.5 else "_unsure"
        copy = tmp_path / "sorted" / folder / Path(row["path"]).name
        assert copy.read_bytes() == (photos / row["path"]).read_bytes()
    assert "predict: copied 31 files into " in result.output
    assert "how often such are wrong was not measured" in result.output
    other = copies[0]
    other.write_bytes(b"mine")
    predict(photos, bundle, tmp_path / "a.csv", *sure)
    assert other.read_bytes() == b"mine"
    assert len([path for path in (tmp_path / "sorted").rglob("*") if path.is_file()]) == 32


def test_copies_into_the_source_are_refused(photos: Path, bundle: Path, tmp_path: Path) -> None:
    result = predict(photos, bundle, tmp_path / "a.csv", "--sort-into", str(photos / "sorted"))
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert "lies in the folder that is predicted" in result.stderr


def test_the_project_tells_strangers_from_its_own_photos(project: list[str], photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "a.csv"
    result = CliRunner().invoke(app, ["--images", str(photos), "--out", str(out), *project])
    assert result.exit_code == 0, result.output
    assert all(0 <= float(row["unknown"]) <= 1 for row in rows(out))


def test_the_source_itself_is_no_test(tmp_path: Path) -> None:
    (tmp_path / "photos" / "ant").mkdir(parents=True)
    assert is_inside(str(tmp_path / "photos" / "ant"), str(tmp_path / "photos"))
    assert is_inside(str(tmp_path / "photos"), str(tmp_path / "photos"))
    assert not is_inside(str(tmp_path / "photos2"), str(tmp_path / "photos"))
    assert not is_inside(str(tmp_path), str(tmp_path / "photos"))
