"""DVC runs again what a change concerns, and nothing else."""

import shutil
from pathlib import Path

import pytest
from closure import ROOT
from dvc.repo import Repo

STAGES = ("prepare", "augment", "gan", "featurize", "train_head", "train_model", "evaluate", "report")


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The code, with outputs that DVC takes for those of every stage."""
    for folder in ("cache", "pipeline", "stages"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("dvc.yaml", "params.yaml", ".dvcignore"):
        shutil.copy(ROOT / name, tmp_path / name)
    for stage in STAGES:
        (tmp_path / "data" / stage).mkdir(parents=True)
        (tmp_path / "data" / stage / "output").write_text(stage)
    monkeypatch.chdir(tmp_path)
    with Repo.init(str(tmp_path), no_scm=True) as repo:
        repo.commit(force=True)
    return tmp_path


def to_run(clone: Path) -> set[str]:
    """The stages whose own inputs have changed."""
    with Repo(str(clone)) as repo:
        return set(repo.status())


def test_a_changed_comment_concerns_only_the_stages_that_import_it(clone: Path) -> None:
    assert to_run(clone) == set()
    (clone / "pipeline" / "gan" / "__pycache__").mkdir()
    (clone / "pipeline" / "gan" / "__pycache__" / "fit.cpython-311.pyc").write_bytes(b"compiled")
    for unrelated in ("pipeline/estimate/plan.py", "stages/sweep.py"):
        with (clone / unrelated).open("a") as file:
            file.write("# a comment\n")
    assert to_run(clone) == set()
    with (clone / "pipeline" / "gan" / "learners.py").open("a") as file:
        file.write("# a comment\n")
    assert to_run(clone) == {"gan"}
