"""What the page says of how images were prepared, in words."""

from pipeline.report.details import manifest_rows

MANIFEST = {
    "version": 1,
    "size": 64,
    "split": {"val": 0.1, "limit_per_class": None, "seed": 0},
    "classes": ["ant", "bee"],
    "unreadable": {"ant/1.jpg": "is empty"},
    "passed_over": {"bee": {"Thumbs.db": 1}},
    "remarks": [],
    "beyond_limit": 0,
    "duplicates": {"removed": 1200, "removed_for_conflicting_labels": 0, "kept_then_removed": [["a.jpg", "b.jpg"]]},
}


def test_rows_are_in_words_and_without_what_is_none() -> None:
    assert manifest_rows(MANIFEST) == [
        ("size", "64"),
        ("chosen values: val", "0.1"),
        ("chosen values: seed", "0"),
        ("unreadable: ant/1.jpg", "is empty"),
        ("other files, by folder: bee: Thumbs.db", "1"),
        ("copies: left out", "1,200"),
        ("copies: the one that was kept, then the others", "a.jpg; b.jpg"),
    ]


def test_long_lists_are_cut() -> None:
    rows = manifest_rows({"unreadable": {f"{number}.jpg": "is empty" for number in range(25)}})
    assert len(rows) == 21 and rows[-1] == ("unreadable: and", "5 more")
