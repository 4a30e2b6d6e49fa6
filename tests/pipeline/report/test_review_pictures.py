"""Pictures of what a person should look at: each with its file, and the page stays small."""

import re
from dataclasses import replace

import numpy as np
import pytest
from pages import EVIL, REVIEWED, images, results

from cache.errors import DamagedFile
from pipeline.report.review_pictures import DOUBTFUL, SUSPECTS, _veil, doubtful, suspects, where_it_looks
from pipeline.report.run_report import render_report


def reviewed(count: int) -> str:
    rows = [f"train,{row},{row:064x},cat/photo{row}.jpg,cat,dog,0.9,0.1" for row in range(count)]
    return "\n".join([REVIEWED, *rows, ""])


def test_the_page_shows_pictures_with_files() -> None:
    page = render_report(results())
    for heading in ("Suspected wrong labels", "Images of low confidence", "Would more photos help?", "Where it looks"):
        assert f"<h2>{heading}</h2>" in page
    section = page[page.index('<section id="suspects">') : page.index('<section id="doubtful">')]
    assert section.count("<img") == 2 and "cat/3.jpg" in section
    assert EVIL not in page
    looks = page[page.index('<section id="looks">') : page.index('<section id="stages">')]
    assert looks.count("data:image/jpeg") == 2


def test_what_a_person_keeps_is_not_shown_again() -> None:
    texts = {**results().texts, "prepare/manifest.json": '{"relabel": {"kept": ["cat/3.jpg", "cat/5.jpg"]}}'}
    assert [picture.row["path"] for picture in suspects(results(texts=texts))] == [f"{EVIL}/4.jpg"]
    assert doubtful(results(texts=texts)) == []


def test_a_hundred_suspects_are_shown_and_the_page_stays_under_ten_megabytes() -> None:
    """Of noise, which takes the most room, with as many images in the gallery as fit."""
    generator = np.random.default_rng(0)
    noise = generator.integers(0, 256, size=(SUSPECTS, 256, 256, 3), dtype=np.uint8)
    noisy = replace(images(rows=SUSPECTS), images=noise)
    sets = {"train": noisy, **{f"train-color_{draw}": replace(noisy, variant=f"color_{draw}") for draw in range(1, 5)}}
    listed = {name: reviewed(SUSPECTS + 3) for name in ("evaluate/suspects.csv", "evaluate/doubtful.csv")}
    report = results().report.model_copy(update={"samples": 24})
    page = render_report(results(images=sets, report=report, texts={**results().texts, **listed}))
    assert page.count("data:image/jpeg") == SUSPECTS + DOUBTFUL == 124
    assert 3e6 < len(page) < 1e7
    section = page[page.index('<section id="suspects">') : page.index('<section id="doubtful">')]
    assert re.findall(r"cat/photo(\d+)\.jpg", section) == [str(row) for row in range(SUSPECTS)]
    assert "Here are the first 100;" in section


def test_a_veil_lies_where_the_drops_are() -> None:
    drops = np.zeros((7, 7), dtype=np.float32)
    drops[0, 0] = 0.5
    veiled = _veil(np.full((70, 70, 3), 100, dtype=np.uint8), drops)
    assert veiled[2, 2, 0] > 150 > veiled[2, 2, 1] and veiled[60, 60].tolist() == [100, 100, 100]


def test_damaged_maps_are_refused() -> None:
    texts = {**results().texts, "evaluate/occlusion.json": "["}
    with pytest.raises(DamagedFile, match=r"evaluate/occlusion.json: not JSON"):
        where_it_looks(results(texts=texts))
