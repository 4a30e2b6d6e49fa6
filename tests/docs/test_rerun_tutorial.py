"""The tutorial's transcripts are what its commands print: run in full by `make test-tutorial`, in parts here."""

import re
import sys
from pathlib import Path

import pytest
from check_readme import stale_lines
from make_photos import LABELLED, NEW, PICTURES, make_photos
from PIL import Image
from rerun_tutorial import BLOCK, PAGE, commands_of, copy_clone, differences, masked, rerun, run_in, shortened

ROOT = Path(__file__).resolve().parents[2]


def test_a_page_is_written_with_what_its_commands_print() -> None:
    page = "Text\n\n```console\n$ a\nold\n$ b \\\n    c\n```\n\n```\n$ not run\n```\n"
    fresh = rerun(page, lambda command: {"a": "new\nlines", "b \\\n    c": ""}[command])
    assert fresh == "Text\n\n```console\n$ a\nnew\nlines\n$ b \\\n    c\n```\n\n```\n$ not run\n```\n"
    assert rerun(fresh, lambda command: {"a": "new\nlines"}.get(command, "")) == fresh


def test_a_console_block_begins_with_a_command() -> None:
    with pytest.raises(ValueError, match="begins with 'output'"):
        commands_of("output\n$ a\n")


@pytest.mark.parametrize(
    ("written", "fresh", "same"),
    [
        ("prepare: 288 images, 60 test (0.3 s)", "prepare: 288 images, 60 test (12.0 s)", True),
        ("prepare: 288 images, 60 test (0.3 s)", "prepare: 287 images, 60 test (0.3 s)", False),
        ("train_head: val accuracy 98.3%, 2,016 rows (9 s)", "train_head: val accuracy 96.7%, 2,016 rows (9 s)", True),
        ("train_head: val accuracy 98.3%", "train_head: test accuracy 98.3%", False),
        ("top-1 91.7 %, worst variant mild_1 90.0 %", "top-1 93.3 %, worst variant flip_1 91.7 %", True),
        ("mild_1   60   91.7%  +0.0 [+0.0, +0.0]   0  1", "mild_1   60   90.0%  -1.7 [-5.0, +0.0]   1  1", True),
        ("featurize   1,440   0   13 s   7 MB", "featurize   1,440   0   1.5 min   0.1 GB", True),
        ("featurize   1,440   0   13 s   7 MB", "featurize   1,440   9   13 s   7 MB", False),
        ("brick_48.jpg,brick,0.999985", "brick_48.jpg,brick,1.0", True),
        ("brick_48.jpg,brick,0.999985", "brick_48.jpg,grass,0.999985", False),
        ("auto: 2 processor threads; no GPU", "auto: 64 processor threads; no GPU", True),
        ("report: suspected labels: 6. How many", "report: suspected labels: 5. How many", True),
        ("predict: 30 images; 7 flower, in p.csv", "predict: 30 images; 6 flower, in p.csv", True),
        ("one", "one\ntwo", False),
    ],
)
def test_only_what_depends_on_the_machine_may_differ(written: str, fresh: str, same: bool) -> None:
    assert (differences(written, fresh) == []) is same


def test_a_line_that_differs_is_shown() -> None:
    assert differences("a\nb 1\n", "a\nb 2\n")[-3:] == [" a", "-b 1", "+b 2"]


def test_a_long_line_ends_with_a_whole_word() -> None:
    line = "word " * 30
    assert shortened(line) == f"{line[:114].rstrip()} …"
    assert shortened("short") == "short"
    assert masked("a    1.5") == "a #"


def test_commands_run_in_a_copy_of_the_clone_by_this_python(tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    folder.mkdir()
    copy_clone(folder)
    code = "import cache, sys; print(cache.__file__, sys.executable)"
    assert run_in(folder, f"python -c '{code}'").split()[0] == "cache/__init__.py"
    assert run_in(folder, "git status --short; which python") == str(Path(sys.executable).parent / "python")
    assert run_in(folder, "echo \"Running stage 'prepare':\"; echo said; echo >&2 warned") == "said\nwarned"
    with pytest.raises(SystemExit, match="ended with code 3"):
        run_in(folder, "exit 3")


def test_all_transcripts_of_all_documents_are_rerun() -> None:
    """A block with a prompt is in the tutorial and marked as `console`."""
    for document in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]:
        text = document.read_text(encoding="utf-8")
        rest = BLOCK.sub("", text) if document == PAGE else text
        assert re.findall(r"^\$ .*", rest, re.MULTILINE) == [], document.name


def test_photos_are_made_of_pictures_that_are_installed(tmp_path: Path) -> None:
    said = make_photos(tmp_path)
    assert said == "288 photos in 6 classes, and 36 new ones"
    paths = sorted(tmp_path.rglob("*.jpg"))
    assert len({path.read_bytes() for path in paths}) == len(paths) == len(PICTURES) * (LABELLED + NEW)
    assert sorted(path.name for path in (tmp_path / "photos").iterdir()) == sorted(PICTURES)
    with Image.open(paths[0]) as photo:
        assert (photo.size, photo.mode) == ((64, 64), "L")


README = (
    "It ends with (a machine):\n\n```\nvariant  top-1\nmild_1   99.4%\n...\n\nprepare  1.8  1,797 images ...\n```\n"
)


@pytest.mark.parametrize(
    ("printed", "stale"),
    [
        ("variant  top-1\nmild_1   97.0%\nmild_2   96.0%\nprepare  20.1   1,797 images in 10 classes\n", []),
        ("variant  top-5\nmild_1   97.0%\nprepare  20.1   1,797 images\n", ["variant  top-1"]),
        ("variant  top-1\nprepare  20.1   1,797 images\nmild_1   97.0%\n", ["prepare  1.8  1,797 images ..."]),
    ],
)
def test_the_table_of_the_readme_is_that_of_the_demo(printed: str, stale: list[str]) -> None:
    """Whose numbers may differ; .ci/run compares the real ones."""
    assert list(stale_lines(README, printed)) == stale


def test_the_readme_has_a_table_that_can_be_compared() -> None:
    lines = list(stale_lines((ROOT / "README.md").read_text(encoding="utf-8"), ""))
    assert len(lines) > 10 and lines[0].startswith("variant ")
