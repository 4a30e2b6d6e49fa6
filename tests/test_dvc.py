"""DVC runs again what a change concerns, and nothing else."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from closure import ROOT
from dvc.repo import Repo

from cache import layout
from cache.lay_out import part_files, placed_rows
from cache.parts import PartStore
from cache.reader import read_features, read_images
from cache.records import FeatureSet
from cache.writer import write_features
from stages import prepare
from stages._cli import Job

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


def test_a_large_set_is_pushed_and_pulled_whole_and_the_store_stays_as_it_was(clone: Path, tmp_path: Path) -> None:
    folder = clone / "data" / "featurize"
    store = PartStore(tmp_path / "store", {"batch": 64})
    ids = np.array([b"%064x" % number for number in range(20)])
    rows = np.arange(20 * 3, dtype=np.float16).reshape(20, 3)
    store.write(ids[:10], rows[:10])
    store.write(ids[10:], rows[10:])
    files = list(part_files(folder / "a.h5", store.open().rows(ids), ids, store.recipe, np.array([0, 10])))
    parted = placed_rows(folder / "a.h5", files, [file.place() for file in files])
    labels = np.zeros(20, dtype=np.int64)
    write_features(folder / "a.h5", FeatureSet(parted, labels, ids, ("ant",), "unaugmented", "b", store.recipe))
    assert {part.stat().st_nlink for part in store.path.iterdir()} == {2}
    push_and_pull(clone, "featurize")
    assert np.array_equal(read_features(folder / "a.h5").features[:], rows)
    assert np.array_equal(store.open().rows(ids)[:], rows)


def push_and_pull(clone: Path, stage: str) -> None:
    """Commit what a stage has made, push it, lose it, and pull it."""
    with Repo(str(clone)) as repo:
        with repo.config.edit() as config:
            config["remote"] = {"other": {"url": str(clone / "remote")}}
            config["core"]["remote"] = "other"
            config["cache"]["type"] = ["hardlink"]
        repo.commit(force=True)
        repo.push(targets=[stage])
    shutil.rmtree(clone / "data" / stage)
    shutil.rmtree(clone / ".dvc" / "cache")
    with Repo(str(clone)) as repo:
        repo.pull(targets=[stage])


def test_a_large_prepared_set_is_pushed_and_pulled_whole_and_prepared_anew_over_it(
    clone: Path, photos: Path, make_job: Callable[..., Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layout, "PART_ROWS", dict.fromkeys(layout.PART_ROWS, 4))
    monkeypatch.setattr(layout, "LARGE_PARTS", 2)
    job = make_job("prepare", clone / "data", f"prepare.source={photos}", "prepare.size=16")
    folder = clone / "data" / "prepare"
    prepare.run(job)
    expected = read_images(folder / "train.h5").images[:]
    assert len(list((folder / "train.parts").iterdir())) == 6
    push_and_pull(clone, "prepare")
    assert np.array_equal(read_images(folder / "train.h5").images[:], expected)
    before = {path.name: path.stat().st_ino for path in (folder / "train.parts").iterdir()}
    prepare.run(job)  # over hard links to DVC's cache, which must stay as it is
    assert np.array_equal(read_images(folder / "train.h5").images[:], expected)
    assert not set(before.values()) & {path.stat().st_ino for path in (folder / "train.parts").iterdir()}
    assert "prepare" not in to_run(clone)
