"""What start writes about a source: where it lies, what goes with another one, and what a preset leaves of choices."""

from pathlib import Path

import pytest

from pipeline.config.presets import read_preset
from pipeline.estimate.new_values import changes_of, source_of, values_to_look, with_source
from pipeline.estimate.wishes import Choice, Wishes

OLD = "prepare: {source: photos, relabel: photos.relabel-1.csv}\n"
PHOTOS = {"prepare.source": "photos", "prepare.labels": "auto"}
SPLIT = Choice("split", "val 2", "as you say", {"prepare.val": 2})
SIZE = Choice("size", "96 px", "half of the images are below 97 px", {"featurize.size": 96})


def test_a_source_is_named_from_here_and_a_table_stands_for_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here" / "photos").mkdir(parents=True)
    (tmp_path / "here" / "photos" / "labels.csv").touch()
    monkeypatch.chdir(tmp_path / "here")
    assert source_of("./photos/") == PHOTOS
    assert source_of("photos/labels.csv") == {"prepare.source": "photos", "prepare.labels": "labels.csv"}
    assert source_of("photos/no_table.csv")["prepare.source"] == "photos/no_table.csv"
    assert source_of("../others")["prepare.source"] == str(tmp_path / "others")
    assert source_of("digits")["prepare.source"] == "pipeline/digits.txt"


def test_all_images_are_looked_at_as_the_flags_read_them() -> None:
    overrides = {"prepare.bit_depth": 12, "prepare.val": 0.5}
    values = values_to_look(PHOTOS, Wishes(fit="pad"), overrides)
    assert (values["prepare.fit"], values["prepare.bit_depth"], values["prepare.val"]) == ("pad", 12, "none")


def test_what_was_about_another_source_goes() -> None:
    same = with_source(OLD, PHOTOS, [SIZE], None)
    assert [choice.subject for choice in same] == ["source", "corrections", "size"]
    assert "prepare.relabel" not in changes_of(same) and changes_of(same)["report.title"] == "photos"
    other = with_source(OLD, {**PHOTOS, "prepare.source": "cats.zip"}, [SIZE], None)
    assert [choice.subject for choice in other] == ["source", "size"]
    assert changes_of(other)["prepare.relabel"] is None and changes_of(other)["report.title"] == "cats"


def test_a_preset_takes_the_place_of_choices_but_not_of_what_the_user_says() -> None:
    choices = with_source(OLD, PHOTOS, [SPLIT, SIZE], "tiny-imagenet-report")
    assert SIZE not in choices and choices[-1] == SPLIT
    preset = read_preset("tiny-imagenet-report").changes
    assert preset["featurize.size"] == 224 and preset["prepare.val"] == 0.2
    changes = changes_of(choices)
    assert {key: changes[key] for key in preset} == {**preset, "prepare.val": 2}
