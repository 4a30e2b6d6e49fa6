"""Values change, everything else of the text stays."""

from pathlib import Path

import pytest
import yaml

from cache.errors import ParamsError
from pipeline.config.edit import edit_params, read_value

TEXT = """\
# what it is
prepare:
  source: digits.txt # embedded
  limit: null
  sizes: # in pixels
    - 32
    - 64

# others

train:
  schedule: [a x 1, b x 2] # short
  policies:
    mild: # ours
      - Fliplr: {p: 0.5}

    strong: []
"""


def test_a_value_is_replaced_and_the_rest_stays() -> None:
    edited = edit_params(TEXT, {"prepare.limit": 3, "train.schedule": ["c x 3"]})
    assert edited == TEXT.replace("null", "3").replace("[a x 1, b x 2] # short", "[c x 3]")


def test_a_block_becomes_a_line_and_blank_lines_and_comments_behind_it_stay() -> None:
    edited = edit_params(TEXT, {"prepare.sizes": [16]})
    assert edited == TEXT.replace("  sizes: # in pixels\n    - 32\n    - 64\n", "  sizes: [16]\n")
    edited = edit_params(TEXT, {"train.policies.mild": []})
    assert edited == TEXT.replace("    mild: # ours\n      - Fliplr: {p: 0.5}\n", "    mild: []\n")


def test_a_new_key_is_the_last_of_its_mapping() -> None:
    edited = edit_params(TEXT, {"train.policies.flip": [{"Fliplr": {"p": 1.0}}], "prepare.fit": "pad"})
    assert edited.endswith("    strong: []\n    flip: [Fliplr: {p: 1.0}]\n")
    assert "    - 64\n  fit: pad\n\n# others\n" in edited


def test_an_equal_value_keeps_its_line() -> None:
    assert edit_params(TEXT, {"prepare.source": "digits.txt", "train.schedule": ["a x 1", "b x 2"]}) == TEXT


@pytest.mark.parametrize(
    "value",
    ["yes", "on", "12:30", "010", "null", "a: b", "# no", " x ", "ü [1]", "", True, 1.5, None, {"a": [1, "no"]}],
)
def test_every_value_reads_back_as_it_was_in_yaml_1_1_too(value: object) -> None:
    edited = edit_params(TEXT, {"prepare.source": value})
    assert yaml.safe_load(edited)["prepare"]["source"] == value
    assert read_value(edited, "prepare.source") == value


def test_params_yaml_itself_survives_a_change_in_every_section() -> None:
    text = (Path(__file__).parents[3] / "params.yaml").read_text(encoding="utf-8")
    values = yaml.safe_load(text)
    for section, keys in values.items():
        for key in {next(iter(keys)), next(reversed(keys))}:
            edited = edit_params(text, {f"{section}.{key}": "changed"})
            expected = yaml.safe_load(text)
            expected[section][key] = "changed"
            assert yaml.safe_load(edited) == expected
            assert set(text.splitlines()) - set(edited.splitlines()) <= set(_lines_of(text, section, key))


def _lines_of(text: str, section: str, key: str) -> list[str]:
    """The lines of a key and its value."""
    lines = text.splitlines()
    start = lines.index(f"{section}:") + 1
    first = next(n for n in range(start, len(lines)) if lines[n].startswith(f"  {key}:"))
    last = first + 1
    while last < len(lines) and lines[last].startswith("    "):
        last += 1
    return lines[first:last]


@pytest.mark.parametrize(
    ("text", "path", "message"),
    [(TEXT, "prepar.limit", "prepare"), ("a: [", "a.b", "cannot be read"), ("a: 1\n", "a.b", "cannot be added to")],
)
def test_what_cannot_be_changed_is_refused(text: str, path: str, message: str) -> None:
    with pytest.raises(ParamsError, match=message):
        edit_params(text, {path: 1})
