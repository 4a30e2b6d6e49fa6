"""The report stage gathers what the others left and writes one page."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from cache.errors import DamagedFile
from cache.records import FeatureSet, ImageSet
from cache.writer import write_features, write_images
from pipeline.config.params import read_params
from pipeline.runtime.run_record import make_record
from stages._cli import Job
from stages.report import run

ROOT = Path(__file__).parents[2]
CLASSES = ("0", "<img src=x onerror=alert(1)>")


def write_sets(folder: Path) -> None:
    """Four images in each split, one augmented variant of val, and features of val."""
    pixels = np.full((4, 8, 8, 3), 90, dtype=np.uint8)
    ids = np.array([f"{row:064x}".encode() for row in range(4)], dtype="S64")
    labels = np.array([0, 1, 0, 1])
    for split in ("train", "val", "test"):
        write_images(folder / "prepare" / f"{split}.h5", ImageSet(pixels, labels, ids, CLASSES))
    augmented = ImageSet(pixels // 2, labels, ids, CLASSES, "color_1", {"policy": "color"})
    write_images(folder / "augment" / "val-color_1.h5", augmented)
    features = FeatureSet(
        np.zeros((4, 2), np.float32), labels, ids, CLASSES, "unaugmented", "mini", {"weights": "f00d"}
    )
    write_features(folder / "featurize" / "val-unaugmented.h5", features)


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Job:
    monkeypatch.chdir(tmp_path)  # no git repository
    return Job("report", read_params(ROOT / "params.yaml", []), tmp_path / "data", tmp_path / "out", quiet=True)


def test_one_page_is_written_and_the_summary_names_it(job: Job) -> None:
    write_sets(job.data)
    review = job.out / "review.csv"
    assert run(job) == f"{job.out / 'index.html'}, 0.0 MB; what to look at is listed in {review}"
    assert sorted(path.name for path in job.out.iterdir()) == ["index.html", "review.csv"]
    assert review.read_text(encoding="utf-8") == "kind,file,split,now,label,probability,action,note\n"
    page = (job.out / "index.html").read_text(encoding="utf-8")
    assert page.count("<img ") == 8  # four sources and their siblings
    assert "f00d" in page
    assert CLASSES[1] not in page
    assert not re.search(r"https?://", page)


def test_the_same_results_give_the_same_bytes(job: Job) -> None:
    write_sets(job.data)
    run(job)
    first = (job.out / "index.html").read_bytes()
    (job.data / "runs").mkdir()
    (job.data / "runs" / "report.json").write_text(json.dumps({"stage": "report", "seconds": 1.25}))
    run(job)
    assert (job.out / "index.html").read_bytes() == first


def test_page_shows_the_parameters_as_used(job: Job) -> None:
    job.params = read_params(ROOT / "params.yaml", ["train_head.lr=0.0625"])
    run(job)
    assert "lr: 0.0625" in (job.out / "index.html").read_text(encoding="utf-8")


def test_page_shows_the_parameters_that_a_stage_recorded_and_not_those_of_the_moment(job: Job) -> None:
    """`train_head --set train_head.lr=0.0625`, then the page with params.yaml as it is."""
    used = read_params(ROOT / "params.yaml", ["train_head.lr=0.0625"])
    (job.data / "train_head").mkdir(parents=True)
    (job.data / "train_head" / "metrics.json").write_text("{}", encoding="utf-8")
    (job.data / "runs").mkdir()
    record = {"stage": "train_head", **make_record(used.train_head, job.data / "train_head")}
    (job.data / "runs" / "train_head.json").write_text(json.dumps(record), encoding="utf-8")
    run(job)
    assert "lr: 0.0625" in (job.out / "index.html").read_text(encoding="utf-8")


def test_page_names_the_commit_and_the_command_that_repeats_the_run(job: Job, tmp_path: Path) -> None:
    params = (ROOT / "params.yaml").read_text(encoding="utf-8")
    (tmp_path / "params.yaml").write_text(params, encoding="utf-8")
    identity = ("-c", "user.name=a", "-c", "user.email=a@b")
    for words in (("init", "-q"), ("add", "params.yaml"), (*identity, "commit", "-q", "-m", "one")):
        subprocess.run(["git", *words], cwd=tmp_path, check=True)
    job.params = read_params(ROOT / "params.yaml", ["train_head.lr=0.0625"])
    run(job)
    page = (job.out / "index.html").read_text(encoding="utf-8")
    assert re.search(r"git checkout [0-9a-f]{40}\ndvc exp run -S train_head.lr=0.0625\n", page)


def test_a_damaged_set_is_refused_by_name(job: Job) -> None:
    write_sets(job.data)
    path = job.data / "prepare" / "val.h5"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DamagedFile, match=r"val\.h5: wrong length"):
        run(job)


def test_the_page_needs_no_torch(tmp_path: Path) -> None:
    code = "import sys, stages.report; sys.exit('torch' in sys.modules or 'sklearn' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
