"""A row's file is told only while the row holds the image that prepare recorded."""

import csv
import io
import json
from pathlib import Path

import pytest

from cache.errors import DamagedFile
from pipeline.evaluation.source_files import SourceFiles, parse_source_files, read_source_files


def test_paths_of_any_characters_are_found_by_split_and_row() -> None:
    paths = ["a.jpg", 'with "quotes", commas.jpg', "two\nlines.jpg", "ünïcode/猫.png"]
    text = io.StringIO()
    csv.writer(text).writerows([["id", "split", "row", "class", "path"]])
    csv.writer(text).writerows([[f"id{row}", "test", row, "cat", path] for row, path in enumerate(paths)])
    sources = parse_source_files(text.getvalue())
    assert [sources.path("test", row, f"id{row}") for row in range(4)] == paths


def test_two_files_of_equal_images_are_told_apart_by_row() -> None:
    """prepare.duplicates may keep them: they have one id."""
    sources = parse_source_files("id,split,row,class,path\nx,test,0,a,first.jpg\nx,test,1,a,second.jpg\n")
    assert (sources.path("test", 0, "x"), sources.path("test", 1, "x")) == ("first.jpg", "second.jpg")


def test_another_image_or_an_unknown_row_has_no_path() -> None:
    sources = parse_source_files("id,split,row,class,path\nx,test,0,a,first.jpg\n")
    assert sources.path("test", 0, "y") == sources.path("test", 1, "x") == sources.path("val", 0, "x") == ""
    assert parse_source_files("").path("test", 0, "x") == ""


def test_a_table_of_other_columns_is_refused() -> None:
    with pytest.raises(DamagedFile, match=r"files\.csv: columns are missing; expected id, path, row, split.*found id"):
        parse_source_files("id\nx\n")


def test_what_a_person_decided_is_read_from_the_manifest(tmp_path: Path) -> None:
    (tmp_path / "files.csv").write_text("id,split,row,path\n", encoding="utf-8")
    assert read_source_files(tmp_path) == SourceFiles()
    decided = {"relabelled": {"b.jpg": "bee"}, "kept": ["a.jpg"], "open": ["c.jpg"], "labels": {"b.jpg": "ant"}}
    (tmp_path / "manifest.json").write_text(json.dumps({"version": 1, "relabel": decided}), encoding="utf-8")
    assert read_source_files(tmp_path) == SourceFiles({}, frozenset(["a.jpg"]), frozenset(["c.jpg"]), {"b.jpg": "ant"})
    (tmp_path / "manifest.json").write_text('{"version": 1}', encoding="utf-8")
    assert read_source_files(tmp_path) == SourceFiles()


def test_a_damaged_manifest_is_refused(tmp_path: Path) -> None:
    (tmp_path / "files.csv").write_text("id,split,row,path\n", encoding="utf-8")
    (tmp_path / "manifest.json").write_text('{"relabel": ', encoding="utf-8")
    with pytest.raises(DamagedFile, match=r"manifest\.json: not JSON.*Run prepare again"):
        read_source_files(tmp_path)
