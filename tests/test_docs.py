"""What the documents show is run."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from make_reference import COMMANDS, FOLDER, page
from typer.testing import CliRunner

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
