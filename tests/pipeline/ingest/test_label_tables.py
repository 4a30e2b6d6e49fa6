"""Labels from tables: any usual columns, names and formats; what does not fit is said or refused."""

import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from cache.errors import InputError
from pipeline.config.params import read_params
from pipeline.ingest.label_tables import LabelTable, read_label_table
from pipeline.ingest.layouts import Layout
from pipeline.ingest.listing import list_source
from pipeline.ingest.place import place

ROOT = Path(__file__).parents[3]
NAMES = [f"images/{number}.jpg" for number in range(4)]


def read(
    content: str | bytes, name: str = "labels.csv", wanted: str = "", names: list[str] = NAMES
) -> LabelTable | None:
    raw = content.encode() if isinstance(content, str) else content
    return read_label_table({name: raw}, {}, names, wanted)


def classes(table: LabelTable | None) -> dict[str, tuple[str, str]]:
    assert table is not None
    return dict(table.labels)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("labels.csv", "file,label\nimages/0.jpg,cat\nimages/1.jpg,dog\n"),
        ("labels.csv", "\ufefffilename;x;class\r\nimages/0.jpg;;cat\r\nimages/1.jpg;;dog\r\n"),
        ("labels.tsv", "species\timage\ncat\t0.jpg\ndog\t1.jpg\n"),
        ("labels.csv", "0.jpg,cat\n1.jpg,dog\n"),
        ("labels.csv", "id,label\n0,cat\n1,dog\n"),
        ("labels.csv", "file,label\n.\\images\\0.jpg,cat\n./images/1.jpg,dog\n"),
        ("images/metadata.csv", "file_name,label\n0.jpg,cat\n1.jpg,dog\n"),
        ("images/metadata.jsonl", '{"file_name": "0.jpg", "label": "cat"}\n{"file_name": "1.jpg", "label": "dog"}\n'),
        ("labels.csv", 'file,label\n"images/0.jpg"," cat "\n"images/1.jpg",dog\n'),
    ],
)
def test_files_and_labels_are_found_by_any_usual_spelling(name: str, text: str) -> None:
    assert classes(read(text, name)) == {"images/0.jpg": ("train", "cat"), "images/1.jpg": ("train", "dog")}


def test_splits_are_those_of_a_column_of_the_tables_name_or_of_folders() -> None:
    column = classes(read("file,label,split\n0.jpg,a,Training\n1.jpg,b,validation\n2.jpg,a,TEST\n"))
    assert [split for split, _ in column.values()] == ["train", "val", "test"]
    names = ["train/0.jpg", "train/1.jpg", "test/0.jpg", "test/2.jpg"]
    tables = {"train.csv": b"file,label\ntrain/0.jpg,a\n1.jpg,b\n", "test.csv": b"file,label\ntest/0.jpg,a\n2.jpg,b\n"}
    merged = read_label_table(tables, {}, names)
    assert classes(merged)["test/2.jpg"] == ("test", "b") and classes(merged)["train/1.jpg"] == ("train", "b")
    by_folder = classes(read("train/0.jpg,a\ntrain/1.jpg,b\ntest/0.jpg,a\ntest/2.jpg,b\n", names=names))
    assert by_folder["test/0.jpg"] == ("test", "a") and by_folder["train/0.jpg"] == ("train", "a")


def test_an_image_without_a_label_is_unlabelled_and_a_slash_makes_no_folder() -> None:
    table = classes(read("file,label\n0.jpg,a/b\n1.jpg,\n"))
    assert table == {"images/0.jpg": ("train", "a-b"), "images/1.jpg": ("unlabelled", "")}


def test_rows_of_files_that_are_not_there_are_counted() -> None:
    table = read("file,label\n0.jpg,a\nlost.jpg,b\n")
    assert table is not None
    assert table.remarks == [
        "labels are those of labels.csv",
        "1 of their rows name files that are not there: lost.jpg",
    ]


@pytest.mark.parametrize("text", ["", "a,b,c,d\n1,2,3,4\n", "file,size\n0.jpg,3\n", "file,label\nother.jpg,a\n", "x\n"])
def test_other_tables_are_none(text: str) -> None:
    assert read(text) is None


def test_webdatasets_labels_lie_beside_their_images() -> None:
    names = ["train-0/a.jpg", "train-0/b.seg.png", "val-1/c.jpg"]
    sidecars = {"train-0/a.cls": "3\n", "train-0/b.cls": "7", "val-1/c.cls": "3", "val-1/lost.cls": "1"}
    table = read_label_table({}, sidecars, names)
    assert classes(table) == {
        "train-0/a.jpg": ("train", "3"), "train-0/b.seg.png": ("train", "7"), "val-1/c.jpg": ("val", "3"),
    }  # fmt: skip


def test_a_spreadsheet_is_read_if_its_reader_is_installed() -> None:
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    for row in (("file", "label"), ("0.jpg", "cat"), ("1.jpg", 7)):
        book.active.append(row)
    target = io.BytesIO()
    book.save(target)
    assert [label for _, label in classes(read(target.getvalue(), "labels.xlsx")).values()] == ["cat", "7"]
    with pytest.raises(InputError, match=r"labels.xlsx: is a damaged spreadsheet"):
        read(b"no zip", "labels.xlsx", "labels.xlsx")


def test_without_its_reader_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "openpyxl", None)
    assert read(b"PK", "labels.xlsx") is None
    with pytest.raises(InputError, match=r"labels.xlsx: is a spreadsheet.*\[tables\]"):
        read(b"PK", "labels.xlsx", "labels.xlsx")


@pytest.mark.parametrize(
    ("text", "wanted", "message"),
    [
        ("file,label\n0.jpg,a\n0.jpg,b\n", "", "images/0.jpg has two labels; found a and b"),
        ("file,label,split\n0.jpg,a,first\n", "", "unknown split; expected train, val or test, found first"),
        ("file,label\n0.jpg,a\n", "other.csv", "other.csv: no such table; expected labels.csv"),
        ("file,size\n0.jpg,a\n", "labels.csv", "columns are missing; expected a column file and a column label"),
        ("file,label\nlost.jpg,a\n", "labels.csv", "names no image of the source"),
    ],
)
def test_what_cannot_be_meant_is_refused(text: str, wanted: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read(text, wanted=wanted)


def test_lines_that_are_not_json_are_refused() -> None:
    with pytest.raises(InputError, match=r"metadata.jsonl: has a line that is not JSON"):
        read('{"file_name": \n', "metadata.jsonl")


def placed(source: Path, *overrides: str) -> Layout:
    config = read_params(ROOT / "params.yaml", [f"prepare.source={source}", *overrides]).prepare
    return place(list_source(str(source)), config)


def test_folders_come_first_and_a_table_that_contradicts_them_is_named(photos: Path) -> None:
    paths = sorted(photos.rglob("*.png"))
    names = [path.relative_to(photos).as_posix() for path in paths]
    table = photos / "labels.csv"
    table.write_text("file,label\n" + "".join(f"{name},{'x' if 'ant' in name else 'y'}\n" for name in names))
    assert placed(photos).classes == ("ant", "bee", "cow")
    assert placed(photos).remarks[-1].endswith("prepare.labels=labels.csv uses them")
    assert placed(photos, "prepare.labels=labels.csv").classes == ("x", "y")
    assert placed(photos, "prepare.labels=folders").remarks == []
    table.write_text("file,label\n" + "".join(f"{name},{name[0]}\n" for name in names))
    assert placed(photos).remarks == []  # other names for the same classes


def test_a_table_helps_if_no_layout_fits(make_photos: Callable[..., Path], tmp_path: Path) -> None:
    flat = make_photos(tmp_path / "flat", ("all",))
    rows = [
        {"file_name": path.name, "label": "ab"[number % 2]} for number, path in enumerate(sorted(flat.rglob("*.png")))
    ]
    with pytest.raises(InputError, match="too few classes"):
        placed(flat)
    (flat / "all" / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows[:-1])))
    layout = placed(flat)
    assert layout.classes == ("a", "b") and len(layout.names) == 9
    assert list(layout.unplaced.values()) == ["has no row in all/metadata.jsonl"]
