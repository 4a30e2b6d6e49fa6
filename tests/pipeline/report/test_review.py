"""The page leads to files and actions, and review.csv lists the same."""

import csv
import io
import json
import re

import numpy as np
import pytest
from pages import EVIL, results

from cache.errors import DamagedFile
from pipeline.ingest.relabels import COLUMNS, parse_corrections
from pipeline.report.review import advice, learning_chart, review_csv, suspects, where_it_looks
from pipeline.report.run_report import render_report


def rows(**change: object) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(review_csv(results(**change)))))


def with_texts(**texts: str) -> dict[str, str]:
    return {**results().texts, **{name.replace("__", "/"): text for name, text in texts.items()}}


def test_every_kind_of_image_is_listed_with_its_file_and_a_suggestion() -> None:
    listed = rows()
    assert [row["kind"] for row in listed] == [
        "suspected label", "suspected label", "mistake", "low confidence", "near duplicate",
    ]  # fmt: skip
    assert (listed[0]["file"], listed[0]["now"], listed[0]["label"]) == (f"{EVIL}/4.jpg", EVIL, "cat")
    assert {row["action"] for row in listed} == {""}
    assert "cat/3.jpg in train" in listed[4]["note"] and listed[4]["label"] == ""


def test_a_filled_in_table_is_what_relabel_reads() -> None:
    listed = rows()
    assert set(COLUMNS) <= set(listed[0])
    text = review_csv(results()).replace(",0.95,,", ",0.95,relabel,", 1)
    corrections = parse_corrections(text, "review.csv")
    assert {file: (own.action, own.label) for file, own in corrections.items()} == {f"{EVIL}/4.jpg": ("relabel", "cat")}


def test_what_a_person_keeps_is_not_listed_again() -> None:
    manifest = json.dumps({"relabel": {"kept": [f"{EVIL}/4.jpg"]}})
    texts = {**results().texts, "prepare/manifest.json": manifest}
    assert [row["file"] for row in rows(texts=texts) if row["kind"] == "suspected label"] == ["cat/3.jpg"]
    assert [picture.row["path"] for picture in suspects(results(texts=texts), 32)] == ["cat/3.jpg"]


def test_the_page_shows_pictures_with_files() -> None:
    page = render_report(results())
    for heading in ("Suspected wrong labels", "Images of low confidence", "Would more photos help?", "Where it looks"):
        assert f"<h2>{heading}</h2>" in page
    section = page[page.index('<section id="suspects">') : page.index('<section id="doubtful">')]
    assert section.count("<img") == 2 and "cat/3.jpg" in section and "stages.relabel" in section
    assert EVIL not in page and len(page) < 10_000_000
    looks = page[page.index('<section id="looks">') : page.index('<section id="leaks">')]
    assert looks.count("data:image/jpeg") == 2


def test_sections_without_figures_are_left_out() -> None:
    bare = {name: text for name, text in results().texts.items() if "/suspects" not in name and "/learning" not in name}
    bare = {name: text for name, text in bare.items() if "occlusion" not in name and "doubtful" not in name}
    page = render_report(results(texts=bare))
    assert not re.search('id="(suspects|doubtful|learning|looks)"', page)


def test_the_learning_curve_is_drawn_and_put_in_words() -> None:
    chart = learning_chart(results())
    assert chart is not None
    assert [tick.label for tick in chart.ticks_x] == ["5", "10", "20"]
    assert chart.lines[0].last == "75.0 %"
    assert advice(results()).startswith("The last doubling of images per class brought +15.0 points, so more photos")
    assert EVIL in advice(results())
    flat = "images_per_class,accuracy,low,high\n5.0,0.75,0,1\n10.0,0.751,0,1\n"
    texts = {**results().texts, "evaluate/learning_curve.csv": flat}
    assert advice(results(texts=texts)).endswith("brought +0.1 points: more photos of this kind help little.")
    assert (
        learning_chart(results(texts={**texts, "evaluate/learning_curve.csv": "images_per_class,accuracy\n"})) is None
    )


def test_a_veil_lies_where_the_drops_are() -> None:
    from pipeline.report.review import _veil

    drops = np.zeros((7, 7), dtype=np.float32)
    drops[0, 0] = 0.5
    veiled = _veil(np.full((70, 70, 3), 100, dtype=np.uint8), drops)
    assert veiled[2, 2, 0] > 150 > veiled[2, 2, 1] and veiled[60, 60].tolist() == [100, 100, 100]


def test_damaged_maps_are_refused() -> None:
    texts = {**results().texts, "evaluate/occlusion.json": "["}
    with pytest.raises(DamagedFile, match=r"evaluate/occlusion.json: not JSON"):
        where_it_looks(results(texts=texts), 32)
