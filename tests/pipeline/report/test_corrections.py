"""What a person has written into review.csv, or a spreadsheet has made of it, becomes corrections."""

import csv
import io
from collections.abc import Mapping
from pathlib import Path

import pytest

from pipeline.ingest.relabels import Correction, decisions
from pipeline.report.corrections import read_review, summary_of

SURE = {"now": "ant", "label": "bee", "probability": "0.97"}
NONE = 2.0  # a probability that no suggestion has


def review(tmp_path: Path, *rows: Mapping[str, str]) -> Path:
    text = io.StringIO()
    writer = csv.DictWriter(text, ["kind", "file", "now", "label", "probability", "action"], restval="")
    writer.writeheader()
    writer.writerows(rows)
    path = tmp_path / "review.csv"
    path.write_text(text.getvalue(), encoding="utf-8")
    return path


def test_sure_suggestions_are_taken_if_asked_for(tmp_path: Path) -> None:
    suspect = {**SURE, "kind": "suspected label"}
    path = review(
        tmp_path,
        {**suspect, "file": "0.png"},
        {**suspect, "file": "1.png", "probability": "0.7"},
        {**suspect, "file": "2.png", "action": "keep"},
        {**suspect, "file": "3.png", "kind": "mistake"},
    )
    corrections = read_review(path, 0.95)
    assert corrections == {
        "0.png": Correction("relabel", "bee"),
        "1.png": Correction("open"),
        "2.png": Correction("keep"),
    }
    assert summary_of(corrections) == "1 to relabel, 1 to keep"
    assert decisions(read_review(path, NONE)) == {"2.png": Correction("keep")}


def test_what_another_row_decides_is_not_open(tmp_path: Path) -> None:
    suspect = {**SURE, "kind": "suspected label", "file": "0.png"}
    path = review(tmp_path, suspect, {**suspect, "action": "keep"})
    assert read_review(path, NONE) == {"0.png": Correction("keep")}


def test_a_file_of_several_kinds_is_taken_by_its_first(tmp_path: Path) -> None:
    path = review(
        tmp_path,
        {**SURE, "file": "0.png", "kind": "suspected label; mistake"},
        {**SURE, "file": "1.png", "kind": "mistake; low confidence"},
    )
    assert list(read_review(path, 0.95)) == ["0.png"]


@pytest.mark.parametrize(("probability", "taken"), [("0,97", 1), ("unknown", 0), ("", 0)])
def test_a_probability_may_have_a_comma_or_be_missing(tmp_path: Path, probability: str, taken: int) -> None:
    path = review(tmp_path, {**SURE, "file": "0.png", "kind": "suspected label", "probability": probability})
    assert len(decisions(read_review(path, 0.95))) == taken


def test_a_table_with_semicolons_is_read(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text("file;action;label\nant/ant_0.png;relabel;cow\n")
    assert read_review(path, NONE) == {"ant/ant_0.png": Correction("relabel", "cow")}
