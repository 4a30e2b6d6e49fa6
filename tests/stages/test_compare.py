"""`python -m stages.compare` on folders and on revisions that DVC knows."""

import csv
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from pipeline.metrics.predictions import Predictions, to_npz
from pipeline.runtime.progress_file import ProgressFile, progress_path
from stages.compare import app


def write_run(folder: Path, right: list[bool], variant: str = "unaugmented") -> Path:
    n = len(right)
    probabilities = np.where(np.array(right)[:, None], [[0.9, 0.1]], [[0.2, 0.8]]).astype(np.float32)
    ids = np.array([f"{row:064x}".encode() for row in range(n)], dtype="S64")
    predictions = Predictions(probabilities, np.zeros(n, dtype=int), ids, ("a", "b"), variant)
    (folder / "evaluate").mkdir(parents=True, exist_ok=True)
    (folder / "evaluate" / f"predictions-{variant}.npz").write_bytes(to_npz(predictions))
    return folder


def compare(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_two_folders_give_a_table_a_page_and_lists(tmp_path: Path) -> None:
    before = write_run(tmp_path / "before", [True, True, False, False])
    after = write_run(tmp_path / "after", [True, False, True, True])
    write_run(after, [True] * 4, "color_1")  # not in both
    (tmp_path / "prepare").mkdir()
    files = f'id,split,row,class,path\n{2:064x},test,2,a,"a/two, three.jpg"\n{2:064x},test,3,a,other_image.jpg\n'
    (tmp_path / "prepare" / "files.csv").write_text(files, encoding="utf-8")
    result = compare(before, after / "evaluate", "--out", tmp_path / "out", "--data", tmp_path)
    assert result.exit_code == 0
    _, line, _, legend, _, page = result.output.splitlines()
    assert line.split()[:4] == ["unaugmented", "4", "50.0%", "75.0%"]
    assert legend.startswith("gained, lost: images that one run alone has right")
    assert page == f"compare: {tmp_path}/out/index.html"
    with (tmp_path / "out" / "changed.csv").open(newline="") as file:
        assert [(row["row"], row["gained"], row["path"]) for row in csv.DictReader(file)] == [
            ("1", "False", ""),
            ("2", "True", "a/two, three.jpg"),
            ("3", "True", ""),
        ]
    assert (tmp_path / "out" / "per_class.csv").read_text() == "name,support,before,after,change\na,4,0.5,0.75,0.25\n"


def test_a_run_that_goes_on_meanwhile_is_said(tmp_path: Path) -> None:
    before, after = (write_run(tmp_path / name, [True, False]) for name in ("before", "after"))
    with ProgressFile(progress_path(after, "train_head"), "train_head"):
        said = compare(before, after, "--out", tmp_path / "out", "--data", tmp_path).output.splitlines()[-1]
    assert said.startswith(f"compare: train_head runs in {after} now, and what was compared may be older; ")
    said = compare(before, after, "--out", tmp_path / "out", "--data", tmp_path).output.splitlines()[-1]
    assert said.startswith(f"compare: {tmp_path}")


def test_a_revision_is_brought_from_dvcs_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    def run(*words: str) -> None:
        subprocess.run(words, check=True, capture_output=True)

    run("git", "init", "-q")
    run("git", "config", "user.email", "a@b")
    run("git", "config", "user.name", "a")
    run(sys.executable, "-m", "dvc", "init", "-q")
    for number, right in enumerate(([True, True, False], [True, True, True])):
        write_run(tmp_path / "data", right)
        run(sys.executable, "-m", "dvc", "add", "-q", "data/evaluate")
        run("git", "add", "-A")
        run("git", "commit", "-qm", str(number))
    result = compare("HEAD~1", "HEAD", "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert result.output.splitlines()[1].split()[:4] == ["unaugmented", "3", "66.7%", "100.0%"]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("empty", "empty: holds no predictions; expected predictions-<variant>.npz. Run evaluate."),
        ("no_such_revision", "no_such_revision: neither a folder nor a revision that DVC knows"),
    ],
)
def test_what_is_no_run_is_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    result = compare(name, write_run(tmp_path / "after", [True]), "--out", tmp_path / "out")
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert said in result.stderr
    assert not (tmp_path / "out").exists()
