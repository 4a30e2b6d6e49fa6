"""Corrections change labels and leave images out; nothing else moves, and nothing goes unsaid."""

from pathlib import Path

import pytest

from cache.errors import InputError
from pipeline.ingest.layouts import Layout, match_layout
from pipeline.ingest.relabels import (
    Correction,
    apply_corrections,
    corrections_text,
    digest_of,
    parse_corrections,
    read_corrections,
)

NAMES = [f"set/{label}/{number}.png" for label in ("ant", "bee") for number in range(3)]


def layout() -> Layout:
    return match_layout(NAMES, {}, {"train"})


def labelled(changed: Layout) -> dict[str, str]:
    return {name: changed.classes[label] for name, label in zip(changed.names, changed.labels, strict=True)}


def test_relabel_drop_and_keep() -> None:
    corrections = {
        "set/ant/0.png": Correction("relabel", "bee"),
        "set/bee/1.png": Correction("drop"),
        "set/bee/2.png": Correction("keep"),
        "set/bee/9.png": Correction("drop"),
        "set/ant/1.png": Correction("open"),
        "set/ant/9.png": Correction("open"),
    }
    changed, applied = apply_corrections(layout(), corrections, {}, "table.csv")
    before = labelled(layout())
    assert labelled(changed) == before | {"ant/0.png": "bee"}
    assert changed.classes == layout().classes
    assert [changed.names[row] for row in changed.dropped.nonzero()[0]] == ["bee/1.png"]
    assert changed.uncorrected is not None
    assert changed.uncorrected.labels.tolist() == layout().labels.tolist()
    assert len(changed.take((~changed.dropped).nonzero()[0]).names) == 5
    assert (applied.relabelled, applied.dropped) == ({"set/ant/0.png": "bee"}, ["set/bee/1.png"])
    assert (applied.kept, applied.open) == (["set/bee/2.png"], ["set/ant/1.png"])
    assert applied.missing == ["set/bee/9.png"]
    assert applied.labels == {"set/ant/0.png": "ant"}
    assert list(applied.lines()) == [
        "relabelled: 1 images, left out: 1, as table.csv says",
        "every image stays in its split, so accuracies before and after are of the same images",
        "table.csv names 1 files that are not there: set/bee/9.png",
    ]


def test_files_are_named_as_the_source_spells_them() -> None:
    changed, _ = apply_corrections(
        layout(), {"Set/1.png": Correction("relabel", "bee")}, {"set/ant/1.png": "Set/1.png"}, "table.csv"
    )
    assert labelled(changed)["ant/1.png"] == "bee"


def test_a_table_reads_back_as_it_was_written() -> None:
    corrections = {'a, "b"/1.png': Correction("relabel", "c,d"), "x\u2009y.png": Correction("drop")}
    assert parse_corrections(corrections_text(corrections), "table.csv") == corrections


def test_rows_without_an_action_and_other_columns_say_nothing() -> None:
    text = "kind,file,now,label,action\nsuspect,a.png,x,y,\nsuspect,b.png,x,y, Relabel \nmistake,b.png,x,y,relabel\n"
    assert parse_corrections(text, "t") == {"b.png": Correction("relabel", "y")}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,label\na.png,x\n", "t: columns are missing; expected file, action, label, found file, label"),
        ("file,action,label\na.png,move,x\n", "t line 2: unknown action; expected relabel, drop, keep, found move"),
        ("file,action,label\na.png,relabel,\n", "t line 2: relabel without a label"),
        ("file,action,label\na.png,drop,\na.png,keep,\n", "t line 3: two actions for one file; found a.png"),
    ],
)
def test_rows_that_cannot_be_meant_are_refused(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_corrections(text, "t")


def test_unknown_classes_and_empty_ones_are_refused() -> None:
    with pytest.raises(InputError, match=r"t, set/ant/0\.png: unknown class; expected one of ant, bee, found cow"):
        apply_corrections(layout(), {"set/ant/0.png": Correction("relabel", "cow")}, {}, "t")
    with pytest.raises(InputError, match="t: would leave classes without images; found ant"):
        apply_corrections(layout(), {f"set/ant/{number}.png": Correction("drop") for number in range(3)}, {}, "t")


def test_a_table_that_was_changed_after_relabel_wrote_it_is_refused(tmp_path: Path) -> None:
    text = corrections_text({"a.png": Correction("drop")})
    path = tmp_path / f"photos.relabel-{digest_of(text.encode())}.csv"
    path.write_text(text)
    assert read_corrections(str(path)) == {"a.png": Correction("drop")}
    path.write_text(text.replace("drop", "keep"))
    with pytest.raises(InputError, match=r"was changed by hand.*python -m stages.relabel"):
        read_corrections(str(path))
    with pytest.raises(InputError, match="cannot be read: No such file"):
        read_corrections(str(tmp_path / "lost.csv"))
