"""The search tries policies on real pixels, and writes what paid into params.yaml, its comments kept."""

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest

from cache.errors import ParamsError, StorageError
from cache.layout import hex_keys, row_digests
from cache.records import ImageSet
from cache.writer import write_images
from pipeline.config.params import read_params
from pipeline.estimate.findings import read_findings
from stages._cli import Job
from stages._job import run_locked
from stages.search import run

ROOT = Path(__file__).resolve().parents[2]
CLASSES = ("left", "right")
QUICK = (
    "search.images_per_class=8",
    "search.folds=2",
    "search.draws=1",
    "featurize.backbone=efficientnet:0.25x0.25/2",
    "featurize.weights=random",
    "featurize.size=32",
    "featurize.engine=eager",
)
FLIP = "search.policies={flip: {always: [Fliplr: {p: 1.0}]}}"
KEEP = "search.policies={noise: {hardly: [AdditiveGaussianNoise: {scale: [0, 2]}]}}"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Images that are bright on the left, or on the right: a mirror image is of the other class."""
    random = np.random.default_rng(0)
    labels = np.arange(24) % 2
    pixels = random.integers(0, 100, (24, 32, 32, 3), dtype=np.uint8)
    pixels[labels == 0, :, :16] += 100
    pixels[labels == 1, :, 16:] += 100
    images = ImageSet(pixels, labels, hex_keys(row_digests(pixels)), CLASSES, "unaugmented")
    write_images(tmp_path / "data" / "prepare" / "train.h5", images)
    return tmp_path / "data"


def job(data: Path, *overrides: str) -> Job:
    file = data.parent / "params.yaml"
    shutil.copy(ROOT / "params.yaml", file)
    return Job("search", read_params(file, [*QUICK, *overrides]), data, data / "search", True, file)


def test_a_flip_that_changes_the_class_is_refused(data: Path) -> None:
    searching = job(data, FLIP)
    assert "nothing beats no augmentation" in run(searching)
    with (searching.out / "trials.csv").open(newline="") as file:
        rows = {row["policy"]: row for row in csv.DictReader(file)}
    assert float(rows["flip_always"]["gain"]) < 0
    params = read_params(searching.file)
    assert params.augment.variants == [] and "flip_always" not in params.augment.policies
    assert [str(phase) for phase in params.train_head.schedule] == ["unaugmented x 2"]


def test_the_old_file_lies_beside_the_new_one_and_comments_stay(data: Path) -> None:
    searching = job(data, FLIP)
    old = searching.file.read_text()
    run(searching)
    assert searching.file.with_name("params.yaml.before-search").read_text() == old
    comments = [line for line in old.splitlines() if line.lstrip().startswith("#")]
    assert [line for line in searching.file.read_text().splitlines() if line.lstrip().startswith("#")] == comments


def test_the_same_search_twice_is_the_same_and_comes_from_the_cache(data: Path) -> None:
    searching = job(data, KEEP)
    run(searching)
    first = (searching.out / "trials.csv").read_bytes(), searching.file.read_bytes()
    run(searching)
    assert ((searching.out / "trials.csv").read_bytes(), searching.file.read_bytes()) == first


def test_a_step_that_cannot_run_is_refused_before_params_are_touched(data: Path) -> None:
    searching = job(data, "search.policies={turn: {much: [NoSuchStep: {}]}}")
    old = searching.file.read_bytes()
    with pytest.raises(ParamsError, match="NoSuchStep"):
        run(searching)
    assert searching.file.read_bytes() == old


def test_it_says_what_to_run_first(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"Run prepare\."):
        run(job(tmp_path / "nowhere", FLIP))


def test_its_record_says_what_was_found_on_which_source(data: Path) -> None:
    run_locked(job(data, KEEP, "prepare.source=left_and_right", "search.kept_draws=2"), run)
    findings = read_findings(data, "left_and_right")
    assert findings is not None and findings.date.startswith("20")
    assert read_findings(data, str(Path("left_and_right").absolute())) == findings
    written = read_params(data.parent / "params.yaml").augment
    assert list(findings.variants) == written.variants
    assert {name: written.policies[name] for name in findings.policies} == findings.policies


def test_the_embedded_digits_are_a_source_too(data: Path) -> None:
    run_locked(job(data, FLIP), run)
    findings = read_findings(data, "pipeline/digits.txt")
    assert findings is not None and findings.variants == ()
