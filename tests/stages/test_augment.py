"""augment: every variant of every split, kept where it holds, gone where it is no longer wanted."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from cache.errors import RecordError, StorageError
from cache.reader import read_images, read_kind
from cache.records import ImageSet
from cache.writer import write_images
from stages import augment

MakeJob = Callable[..., "augment.Job"]
SMALL = (
    *("augment.size=16", "augment.variants=[color_1, rand_1]", "augment.workers=1", "augment.keep=pixels"),
    "train_head.schedule=[unaugmented x 1]",
)


def write_split(data: Path, split: str, n: int, seed: int) -> ImageSet:
    images = np.random.default_rng(seed).integers(0, 256, (n, 16, 16, 3), dtype=np.uint8)
    written = ImageSet(images, np.arange(n) % 2, np.array([b""] * n, dtype="S64"), ("a", "b"))
    written = ImageSet(images, written.labels, written.keys(), ("a", "b"))
    write_images(data / "prepare" / f"{split}.h5", written)
    return written


@pytest.fixture
def data(tmp_path: Path) -> Path:
    write_split(tmp_path / "data", "train", 6, 0)
    write_split(tmp_path / "data", "test", 4, 1)
    return tmp_path / "data"


def test_every_variant_of_every_split_is_made(data: Path, make_job: MakeJob) -> None:
    summary = augment.run(make_job("augment", data, *SMALL))
    names = ["test-color_1.h5", "test-rand_1.h5", "train-color_1.h5", "train-rand_1.h5"]
    assert [path.name for path in sorted((data / "augment").iterdir())] == names
    assert summary == "20 images in 4 files, 20 computed, 0 kept"


def test_siblings_share_ids_and_labels_with_their_source(data: Path, make_job: MakeJob) -> None:
    augment.run(make_job("augment", data, *SMALL))
    source = read_images(data / "prepare" / "train.h5")
    augmented = read_images(data / "augment" / "train-color_1.h5")
    assert np.array_equal(augmented.ids, source.ids) and np.array_equal(augmented.labels, source.labels)
    assert augmented.variant == "color_1" and augmented.recipe["variant"] == "color_1"
    assert not np.array_equal(augmented.images[:], source.images[:])


def test_a_second_run_keeps_everything_untouched(data: Path, make_job: MakeJob) -> None:
    augment.run(make_job("augment", data, *SMALL))
    before = {path: path.stat().st_mtime_ns for path in (data / "augment").iterdir()}
    assert augment.run(make_job("augment", data, *SMALL)).endswith("0 computed, 20 kept")
    assert {path: path.stat().st_mtime_ns for path in (data / "augment").iterdir()} == before


def test_a_removed_variant_leaves_no_file_behind(data: Path, make_job: MakeJob) -> None:
    augment.run(make_job("augment", data, *SMALL))
    augment.run(make_job("augment", data, *SMALL, "augment.variants=[color_1]"))
    assert [path.name for path in sorted((data / "augment").iterdir())] == ["test-color_1.h5", "train-color_1.h5"]


def test_one_more_image_costs_one_image(data: Path, make_job: MakeJob) -> None:
    augment.run(make_job("augment", data, *SMALL))
    old = read_images(data / "augment" / "train-color_1.h5").images[:]
    first = write_split(data, "train", 6, 0)
    more = write_split(data, "train", 1, 9)
    joined = np.concatenate([first.images[:], more.images[:]])
    ids = np.concatenate([first.ids, more.ids])
    write_images(data / "prepare" / "train.h5", ImageSet(joined, np.arange(7) % 2, ids, ("a", "b")))
    assert augment.run(make_job("augment", data, *SMALL)) == "22 images in 4 files, 2 computed, 20 kept"
    assert np.array_equal(read_images(data / "augment" / "train-color_1.h5").images[:6], old)


def test_ids_that_are_no_digests_are_refused(data: Path, make_job: MakeJob) -> None:
    images = read_images(data / "prepare" / "test.h5")
    write_images(data / "prepare" / "test.h5", ImageSet(images.images, images.labels, images.ids[::-1], ("a", "b")))
    with pytest.raises(RecordError, match="Run prepare again"):
        augment.run(make_job("augment", data, *SMALL))


def test_without_prepared_images_nothing_is_thrown_away(data: Path, make_job: MakeJob) -> None:
    augment.run(make_job("augment", data, *SMALL))
    for path in (data / "prepare").iterdir():
        path.unlink()
    with pytest.raises(StorageError, match="Run prepare"):
        augment.run(make_job("augment", data, *SMALL))
    assert len(list((data / "augment").iterdir())) == 4


def test_no_variants_leave_an_empty_folder_for_dvc(data: Path, make_job: MakeJob) -> None:
    augment.run(make_job("augment", data, *SMALL, "augment.variants=[]"))
    assert list((data / "augment").iterdir()) == []


def test_what_the_fused_engine_does_not_know_is_said_once(
    data: Path, make_job: MakeJob, capsys: pytest.CaptureFixture[str]
) -> None:
    augment.run(make_job("augment", data, *SMALL, "augment.variants=[color_1, rand_1, rand_2]"))
    said = "augment: policy rand is run by imgaug; the faster engine does not know RandAugment\n"
    assert capsys.readouterr().out == said


def test_another_engine_draws_anew(data: Path, make_job: MakeJob) -> None:
    augment.run(make_job("augment", data, *SMALL, "augment.variants=[color_1]"))
    assert augment.run(
        make_job("augment", data, *SMALL, "augment.variants=[color_1]", "augment.engine=fused")
    ).endswith("0 computed, 10 kept")
    assert "10 computed" in augment.run(
        make_job("augment", data, *SMALL, "augment.variants=[color_1]", "augment.engine=imgaug")
    )


def test_without_pixels_a_file_holds_identity_and_recipe(data: Path, make_job: MakeJob) -> None:
    kept = make_job("augment", data, *SMALL)
    augment.run(kept)
    pixels = {path.name: kept.read_images(path) for path in sorted((data / "augment").iterdir())}
    rows = {name: images.images[:] for name, images in pixels.items()}
    job = make_job("augment", data, *SMALL, "augment.keep=nothing")
    assert augment.run(job) == "20 images in 4 files without pixels, to be drawn as they are read"
    assert (job.facts["rows"], job.facts.get("cached"), job.facts["keep"]) == (20, None, "nothing")
    for name, images in pixels.items():
        path = data / "augment" / name
        assert read_kind(path) == "variant" and path.stat().st_size < 8192
        lazy = job.read_images(path)
        assert np.array_equal(lazy.images[:], rows[name]) and lazy.recipe == images.recipe
        assert lazy.keys().tolist() == images.keys().tolist()
    before = {path: path.stat().st_mtime_ns for path in (data / "augment").iterdir()}
    augment.run(job)
    assert {path: path.stat().st_mtime_ns for path in (data / "augment").iterdir()} == before


OPEN = ("augment.keep=auto", "train_model.recipe=none")


def test_what_is_kept_is_said_in_one_line_if_it_is_left_open(
    data: Path, make_job: MakeJob, capsys: pytest.CaptureFixture[str]
) -> None:
    augment.run(make_job("augment", data, *SMALL, "augment.variants=[color_1]", *OPEN))
    said = "augment: no pixels are kept, because only heads are trained; rows are drawn as they are read\n"
    assert capsys.readouterr().out == said
    assert {read_kind(path) for path in (data / "augment").iterdir()} == {"variant"}


def test_a_disk_that_is_too_small_is_told_before_anything_is_drawn(
    data: Path, make_job: MakeJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cache.files.free_space", lambda folder: 200_000)
    large = (*SMALL, "augment.size=64")
    with pytest.raises(StorageError, match="too little disk space"):
        augment.run(make_job("augment", data, *large))
    assert list((data / "augment").iterdir()) == []
    augment.run(make_job("augment", data, *large, "augment.keep=nothing"))
