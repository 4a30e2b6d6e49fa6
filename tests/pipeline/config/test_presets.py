"""Presets are the commands of docs/reports.md."""

import re
import shlex
from itertools import pairwise
from pathlib import Path

import pytest

from cache.errors import ParamsError
from pipeline.config.edit import edit_params
from pipeline.config.params import read_params
from pipeline.config.presets import read_preset, read_presets

ROOT = Path(__file__).parents[3]
COMMANDS = {
    "tiny-imagenet-report": "**001",
    "few-images-report": "**000",
    "cifar-10-report": "**002",
    "attention-report": "**002",  # whose command it shares, with the changes that its text names
    "imbalanced-report": "**004",
}
CHANGES = {"attention-report": ["train_model.recipe=003-cbam", "prepare.val=0.1"]}


def documented(name: str) -> list[str]:
    """The overrides of a report's command, without its source."""
    text = (ROOT / "docs" / "reports.md").read_text(encoding="utf-8")
    section = text[text.index(COMMANDS[name]) :]
    command = re.search(r"```\n(dvc exp run .*?)\n(?!  )", section, re.DOTALL)
    assert command is not None
    words = shlex.split(command[1].replace("\\\n", " "))
    return [word for flag, word in pairwise(words) if flag == "-S" and "prepare.source" not in word]


@pytest.mark.parametrize("name", COMMANDS)
def test_a_preset_is_the_documented_command(name: str, tmp_path: Path) -> None:
    text = (ROOT / "params.yaml").read_text(encoding="utf-8")
    (tmp_path / "params.yaml").write_text(edit_params(text, read_preset(name).changes), encoding="utf-8")
    expected = read_params(ROOT / "params.yaml", [*documented(name), *CHANGES.get(name, [])])
    assert read_params(tmp_path / "params.yaml") == expected


def test_every_preset_is_tested_and_says_what_it_is() -> None:
    presets = read_presets()
    assert set(presets) == set(COMMANDS)
    assert all(preset.about.startswith("report 00") for preset in presets.values())


def test_an_unknown_preset_lists_the_right_ones() -> None:
    with pytest.raises(ParamsError, match=r"expected one of tiny-imagenet-report, .*Did you mean 'cifar-10-report'"):
        read_preset("cifar10-report")
