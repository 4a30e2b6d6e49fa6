"""What the documents show is run."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from dvc.utils.hydra import apply_overrides
from make_reference import COMMANDS, FOLDER, page
from typer.testing import CliRunner

from pipeline.config.params import read_params
from stages import export

ROOT = Path(__file__).resolve().parents[1]


def test_the_example_is_short_and_runs(project: list[str], tmp_path: Path) -> None:
    assert len((ROOT / "docs" / "example.py").read_text(encoding="utf-8").splitlines()) <= 30
    exported = CliRunner().invoke(export.app, ["--out", str(tmp_path / "bundle"), *project])
    assert exported.exit_code == 0, exported.output
    command = [sys.executable, "docs/example.py", str(tmp_path / "data"), str(tmp_path / "bundle")]
    own = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=own, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    head, pipeline, tuned, classes = done.stdout.splitlines()
    assert head.startswith("head: ") and head.endswith("% in cross-validation")
    assert pipeline.startswith("pipeline: ") and ", mild_1 " in pipeline
    assert tuned.startswith("fine-tuned: top-1 ") and tuned.endswith("] of 6 test images")
    assert classes.startswith("[")


SOURCES = " ".join(
    " ".join(path.read_text(encoding="utf-8").split())
    for room in ("cache", "pipeline", "stages")
    for path in (ROOT / room).rglob("*.py")
)


def test_the_messages_of_the_troubleshooting_page_are_those_of_the_code() -> None:
    page = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    messages = re.findall(r"^\| `(.+?)` \|", page, re.MULTILINE)
    assert len(messages) > 10
    assert [message for message in messages if message not in SOURCES] == []


@pytest.mark.parametrize("name", COMMANDS)
def test_a_commands_page_is_made_of_its_own_help_and_parameters(name: str) -> None:
    written = (FOLDER / f"{name}.md").read_text(encoding="utf-8")
    assert written == page(name), "run python docs/make_reference.py"


def test_links_between_documents_lead_somewhere() -> None:
    for document in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#]+?)\)", document.read_text(encoding="utf-8")):
            assert target.startswith("http") or (document.parent / target).exists(), f"{document.name}: {target}"


def shown_commands() -> Iterator[tuple[str, list[str]]]:
    """Words of the commands in blocks of the documents that run stages, without comments and the rest of a pipe."""
    for document in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]:
        for kind, block in re.findall(r"^```(\w*)\n(.*?)^```$", document.read_text("utf-8"), re.MULTILINE | re.DOTALL):
            lines = block.replace("\\\n", " ").splitlines() if kind in {"", "console"} else []
            for line in lines:
                words = (
                    shlex.split(line.removeprefix("$ "), comments=True) if "stages." in line or "dvc" in line else []
                )
                if words[:3] == ["dvc", "exp", "run"] or words[:2] == ["python", "-m"]:
                    yield document.name, words


SHOWN = list(shown_commands())
SETTING = ("-S", "--set")


@pytest.mark.parametrize(("document", "words"), SHOWN, ids=[f"{name}-{words[2]}" for name, words in SHOWN])
def test_commands_that_the_documents_show_are_accepted(document: str, words: list[str], tmp_path: Path) -> None:
    """Flags are those of the command, and values fit params.yaml."""
    values = [value for flag, value in pairwise(words) if flag in SETTING]
    file = tmp_path / "params.yaml"
    shutil.copy(ROOT / "params.yaml", file)
    if words[0] == "dvc":
        apply_overrides(str(file), values)
        read_params(file)
        return
    if words[2] == "stages.start":
        values = []  # which would be put on top of what it chooses
    read_params(file, values)
    reference = (FOLDER / f"{words[2].removeprefix('stages.')}.md").read_text(encoding="utf-8")
    flags = [word.replace("--no-", "--") for word in words if word.startswith("--")]
    assert [flag for flag in flags if flag not in reference] == []


def test_many_commands_are_shown() -> None:
    assert len(SHOWN) > 30
