"""review.csv leads from a photo to a decision: one row per file, the surest suspects first."""

import csv
import io
import json
import re
from typing import Any

import pytest
from pages import EVIL, REVIEWED, results

from pipeline.heads import suspects
from pipeline.ingest.relabels import COLUMNS, parse_corrections
from pipeline.report import review
from pipeline.report.review import (
    LISTED,
    SUSPECT,
    count_kinds,
    doubt_of_test,
    expected_wrong,
    kinds_of,
    open_suspects,
    review_csv,
    review_rows,
    suspects_line,
)
from pipeline.report.run_report import render_report

MENTIONED = (
    f"row,id,path,actual,predicted,probability\n3,{3:064x},cat/3.jpg,cat,gain,0.5\n0,{0:064x},cat/0.jpg,cat,cat,1\n"
)


def texts(**change: str) -> dict[str, str]:
    """Those of the run, some of them changed: `evaluate__suspects` is evaluate/suspects.csv."""
    return {**results().texts, **{f"{name.replace('__', '/')}.csv": text for name, text in change.items()}}


def kept(*files: str) -> dict[str, str]:
    return {**results().texts, "prepare/manifest.json": json.dumps({"relabel": {"kept": list(files)}})}


def listed(**change: Any) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(review_csv(review_rows(results(**change))))))


def section(page: str, name: str) -> str:
    return page[page.index(f'<section id="{name}">') :].partition("</section>")[0]


def test_every_kind_of_image_is_listed_with_its_file_and_a_suggestion() -> None:
    rows = listed()
    assert [row["kind"] for row in rows] == [SUSPECT, SUSPECT, "mistake", "low confidence", "near duplicate"]
    assert (rows[0]["file"], rows[0]["now"], rows[0]["label"]) == (f"{EVIL}/4.jpg", EVIL, "cat")
    assert {row["action"] for row in rows} == {""}
    assert "cat/3.jpg in train" in rows[4]["note"] and rows[4]["label"] == ""


def test_a_file_of_several_kinds_has_one_row_with_the_first_kinds_suggestion() -> None:
    doubtful = f"{REVIEWED}\ntest,3,{3:064x},cat/3.jpg,cat,dog,0.36,0.35\n"
    rows = listed(texts=texts(evaluate__predictions=MENTIONED, evaluate__doubtful=doubtful))
    assert [(row["file"], row["kind"]) for row in rows] == [
        (f"{EVIL}/4.jpg", SUSPECT),
        ("cat/3.jpg", f"{SUSPECT}; mistake; low confidence"),
        ("copy.jpg", "near duplicate"),
    ]
    assert (rows[1]["label"], rows[1]["probability"]) == (EVIL, "0.75")
    assert rows[1]["note"] == f"{SUSPECT}: its own class has 0.200; low confidence: its own class has 0.350"
    assert kinds_of(rows[1]["kind"]) == [SUSPECT, "mistake", "low confidence"]


def test_what_was_suspected_earlier_is_said_to_be_still_open() -> None:
    own = f"{REVIEWED}\ntest,3,{3:064x},cat/3.jpg,cat,dog,0.10,0.85\n"
    rows = listed(texts=texts(evaluate__suspects=own))
    assert rows[0]["note"] == f"{SUSPECT} in an earlier run, still open: its own class has 0.850"


def test_a_file_of_two_kinds_counts_for_both() -> None:
    rows = review_rows(results(texts=texts(evaluate__predictions=MENTIONED)))
    assert count_kinds(rows) == {SUSPECT: 2, "mistake": 1, "low confidence": 1, "near duplicate": 1}
    assert len(rows) == 4


def test_a_filled_in_table_is_what_relabel_reads() -> None:
    assert set(COLUMNS) <= set(listed()[0])
    text = review_csv(review_rows(results())).replace(",0.95,,", ",0.95,relabel,", 1)
    corrections = parse_corrections(text, "review.csv")
    assert {file: (own.action, own.label) for file, own in corrections.items()} == {f"{EVIL}/4.jpg": ("relabel", "cat")}


def test_what_a_person_keeps_is_not_listed_again() -> None:
    assert [row["file"] for row in listed(texts=kept(f"{EVIL}/4.jpg")) if row["kind"] == SUSPECT] == ["cat/3.jpg"]


@pytest.mark.parametrize("count", [2, 7])
def test_the_page_counts_what_the_file_lists(count: int) -> None:
    """The page once said 30, where the file had 25: five were kept."""
    rows = [f"train,{row},{row:064x},cat/{row}.jpg,cat,dog,0.9,0.1" for row in range(count + 2)]
    own = {**kept("cat/0.jpg", "cat/1.jpg"), "evaluate/suspects.csv": "\n".join([REVIEWED, *rows, ""])}
    said = section(render_report(results(texts=own)), "suspects")
    assert sum(SUSPECT in kinds_of(row["kind"]) for row in listed(texts=own)) == count
    assert f"<p>{count} images whose label fits worse" in said and "lists all of them." in said
    assert "2 more are left out, because you have decided about them." in said
    mend = section(render_report(results(texts=own)), "mend")
    assert f"lists {len(listed(texts=own))} files, each once: {count} × suspected label, 1 × " in mend


def test_images_without_a_file_are_counted_but_not_listed() -> None:
    own = texts(evaluate__suspects=results().texts["evaluate/suspects.csv"].replace("cat/3.jpg", ""))
    assert "2 images whose label" in section(render_report(results(texts=own)), "suspects")
    assert "lists 1, those that have a file." in section(render_report(results(texts=own)), "suspects")


def test_the_next_steps_stand_after_the_lists() -> None:
    page = render_report(results())
    places = [page.index(f'<section id="{name}">') for name in ("mistakes", "suspects", "doubtful", "leaks", "mend")]
    assert places == sorted(places)
    mend = section(page, "mend")
    steps = ["action", "relabel", "keep", "drop", "python -m stages.relabel", "dvc repro", "A new run writes"]
    assert [mend.index(step) for step in steps] == sorted(mend.index(step) for step in steps)
    assert page.index('id="learning"') > page.index('id="mend"')


@pytest.mark.parametrize("lists", [True, False])
def test_files_that_could_not_be_read_are_to_be_mended_too(lists: bool) -> None:
    broken = {f"{EVIL}/{number}.jpg": "is truncated" for number in range(4)}
    own = {name: text for name, text in results().texts.items() if lists or not name.startswith("evaluate/")}
    page = render_report(results(texts={**own, "prepare/manifest.json": json.dumps({"unreadable": broken})}))
    mend = section(page, "mend")
    assert "4 files could not be read and were left out: " in mend and "data/runs/prepare-unreadable.txt" in mend
    assert mend.count(".jpg</code>") == 3 and EVIL not in mend
    assert ("<code>review.csv</code> beside this page" in mend) is lists


def test_the_order_and_the_limits_of_suspicion_are_said() -> None:
    said = section(render_report(results()), "suspects")
    assert "by how much more probable the suggested class is than the label" in said
    assert "not every wrong label is suspected" in said
    assert 'href="#mistakes"' in said and 'href="#doubtful"' in said and 'href="#mend"' in said


def decided(count: int) -> dict[str, Any]:
    return {"relabel": {"kept": [f"kept{row}.jpg" for row in range(count - 5)], "relabelled": dict.fromkeys("abcde")}}


def expecting(*shares: str) -> list[dict[str, str]]:
    return [{"path": f"{row}.jpg", "split": "train", "expected": share} for row, share in enumerate(shares)]


@pytest.mark.parametrize(
    ("shares", "line"),
    [
        (
            ("0.9", "0.5", "0.05"),
            "suspected labels: 3. About 1 of them is expected to be wrong, by 25 labels kept or corrected. Photos",
        ),
        (("0.9", "0.9", "0.7"), "suspected labels: 3. About 2 of them are expected to be wrong, by 25 labels kept"),
        (
            ("0.05",) * 9,
            "suspected labels: 9. None of them is expected to be wrong, by 25 labels kept or corrected: you can stop",
        ),
        (("0.5", ""), "suspected labels: 2. How many of them are really wrong is said once 20 are kept or relabelled."),
        ((), "suspected labels: 0. No suspected label is left: you can stop here."),
    ],
)
def test_it_is_said_how_many_suspects_are_expected_to_be_wrong_and_when_to_stop(
    shares: tuple[str, ...], line: str
) -> None:
    assert suspects_line(expecting(*shares), decided(25), {}).startswith(line)


def test_nothing_is_said_without_suspects_and_decisions() -> None:
    assert suspects_line([], {}, {}) == expected_wrong([], {}, {}) == ""


@pytest.mark.parametrize(
    ("unlisted", "said"),
    [
        ({}, "Not every wrong label is suspected: look at the mistakes too."),
        (
            {"images": 1300, "expected": 3.6},
            "Of the 1,300 photos that are neither suspected nor decided about, about 4 are",
        ),
        ({"images": 20, "expected": 0.6}, "Of the 20 photos that are neither suspected nor decided about, about 1 is"),
        ({"images": 20, "expected": 0.4}, "Of the 20 photos that are neither suspected nor decided about, none is"),
    ],
)
def test_what_may_be_wrong_elsewhere_is_said_where_it_says_stop(unlisted: dict[str, float], said: str) -> None:
    for shares in ((), ("0.05",)):
        assert f"you can stop here. {said}" in suspects_line(expecting(*shares), decided(25), unlisted)
    assert "neither suspected" not in suspects_line(expecting("0.9"), decided(25), unlisted)


def test_only_open_suspects_are_expected_to_be_wrong() -> None:
    suspects = [*expecting("0.6"), {"path": "kept0.jpg", "split": "train", "expected": "1.0"}]
    assert expected_wrong(suspects, decided(25), {}).startswith("About 1 of them is")


def test_the_page_says_when_to_stop_even_without_suspects() -> None:
    own = {**kept(f"{EVIL}/4.jpg", "cat/3.jpg")}
    assert "No suspected label is left: you can stop here." in section(render_report(results(texts=own)), "suspects")
    own["evaluate/suspects.csv"] = f"{REVIEWED},expected\ntest,3,{3:064x},new.jpg,cat,{EVIL},0.75,0.2,0.0\n"
    said = section(render_report(results(texts=own)), "suspects")
    assert "1 label is suspected. None of them is expected to be wrong, by 2 labels kept or corrected: you can" in said
    assert "How many of them are really wrong is said" in section(render_report(results()), "suspects")


def test_test_photos_among_the_suspects_are_said_beside_the_accuracy() -> None:
    suspects = [{"split": split, "path": f"{split}.jpg"} for split in ("test", "train", "test")]
    said = "2 of the 1,080 test photos are among the suspected labels: correct them, then test again."
    assert doubt_of_test(suspects, 1080) == said
    assert doubt_of_test(suspects[:2], 80).startswith("1 of the 80 test photos is among the suspected labels")
    assert doubt_of_test(suspects[1:2], 80) == ""
    unlikely = [{**row, "expected": "0.1"} for row in suspects]
    assert doubt_of_test(unlikely, 80) == "" and doubt_of_test([*unlikely[1:], suspects[0]], 80) != ""
    header = render_report(results()).partition("</header>")[0]
    assert "1 of the 6 test photos is among the suspected labels" in header
    assert "among the suspected labels" not in render_report(results(texts=kept("cat/3.jpg"))).partition("</header>")[0]
    assert open_suspects(suspects, {"relabel": {"kept": ["test.jpg"]}}) == suspects[1:2]


def test_at_most_a_thousand_mistakes_are_listed_the_surest_first() -> None:
    rows = [f"{row},{row:064x},cat/{row}.jpg,cat,dog,{row / 2000}" for row in range(LISTED + 5)]
    own = texts(evaluate__predictions="\n".join([MENTIONED.splitlines()[0], *rows, ""]))
    mistakes = [row["file"] for row in listed(texts=own) if "mistake" in row["kind"]]
    assert len(mistakes) == LISTED and f"cat/{LISTED + 4}.jpg" in mistakes and "cat/0.jpg" not in mistakes


def test_sections_without_figures_are_left_out() -> None:
    dropped = ("/suspects", "/learning", "occlusion", "doubtful", "near_dup", "/predictions")
    bare = {name: text for name, text in results().texts.items() if not any(part in name for part in dropped)}
    bare["prepare/manifest.json"] = "{}"
    assert not re.search('id="(suspects|doubtful|learning|looks|mend)"', render_report(results(texts=bare)))


def test_the_page_names_as_many_decisions_as_the_estimate_takes() -> None:
    assert review.ENOUGH == suspects.ENOUGH
