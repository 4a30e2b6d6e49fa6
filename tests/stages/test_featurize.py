"""featurize: a row is computed once, whatever happens to the files around it."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from cache.errors import StorageError
from cache.reader import read_features, read_images
from cache.records import ImageSet
from cache.writer import write_images
from stages import featurize

MakeJob = Callable[..., "featurize.Job"]
SMALL = ("featurize.size=32", "featurize.batch=16", "featurize.rows_per_task=3", "featurize.device=cpu")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for number, (stage, name) in enumerate([("prepare", "train"), ("prepare", "test"), ("augment", "train-color_1")]):
        images = np.random.default_rng(number).integers(0, 256, (5, 32, 32, 3), dtype=np.uint8)
        variant = name.partition("-")[2] or "unaugmented"
        ids = np.array([b"%064x" % index for index in range(5)])
        write_images(
            tmp_path / "data" / stage / f"{name}.h5", ImageSet(images, np.arange(5) % 2, ids, ("a", "b"), variant)
        )
    return tmp_path / "data"


def test_every_image_file_becomes_a_feature_file(data: Path, make_job: MakeJob) -> None:
    summary = featurize.run(make_job("featurize", data, *SMALL))
    names = ["test-unaugmented.h5", "train-color_1.h5", "train-unaugmented.h5"]
    assert [path.name for path in sorted((data / "featurize").iterdir())] == names
    assert summary.startswith("15 rows in 3 files, 15 computed, 0 from the cache")
    assert "RANDOM weights" not in summary
    other = make_job("featurize", data, *SMALL, "featurize.weights=random")
    assert featurize.run(other).endswith("by efficientnet-mini with RANDOM weights")
    featurize.run(make_job("featurize", data, *SMALL))
    made, source = (
        read_features(data / "featurize" / "train-color_1.h5"),
        read_images(data / "augment" / "train-color_1.h5"),
    )
    assert np.array_equal(made.ids, source.ids) and np.array_equal(made.labels, source.labels)
    assert made.variant == "color_1" and made.backbone == "efficientnet-mini" and made.features.dtype == np.float16


def test_rows_are_found_again_after_the_outputs_are_gone(data: Path, make_job: MakeJob) -> None:
    featurize.run(make_job("featurize", data, *SMALL))
    before = {path.name: path.read_bytes() for path in (data / "featurize").iterdir()}
    shutil.rmtree(data / "featurize")
    assert "0 computed, 15 from the cache" in featurize.run(make_job("featurize", data, *SMALL))
    assert {path.name: path.read_bytes() for path in (data / "featurize").iterdir()} == before


def test_a_relabelled_image_costs_nothing(data: Path, make_job: MakeJob) -> None:
    featurize.run(make_job("featurize", data, *SMALL))
    path = data / "prepare" / "train.h5"
    images = read_images(path)
    write_images(path, ImageSet(images.images[:], 1 - images.labels, images.ids, ("a", "b")))
    assert "0 computed" in featurize.run(make_job("featurize", data, *SMALL))
    assert np.array_equal(read_features(data / "featurize" / "train-unaugmented.h5").labels, 1 - images.labels)


def test_another_input_size_is_another_recipe(data: Path, make_job: MakeJob) -> None:
    featurize.run(make_job("featurize", data, *SMALL))
    assert "15 computed" in featurize.run(make_job("featurize", data, *SMALL, "featurize.size=48"))
    assert "0 computed" in featurize.run(make_job("featurize", data, *SMALL))


def test_a_row_does_not_depend_on_its_neighbours_or_on_rows_per_task(
    data: Path, make_job: MakeJob, store: Path
) -> None:
    featurize.run(make_job("featurize", data, *SMALL))
    before = {path.name: path.read_bytes() for path in (data / "featurize").iterdir()}
    shutil.rmtree(store)
    featurize.run(make_job("featurize", data, *SMALL, "featurize.rows_per_task=2"))
    assert {path.name: path.read_bytes() for path in (data / "featurize").iterdir()} == before


def test_a_variant_that_is_gone_leaves_no_features_behind(data: Path, make_job: MakeJob) -> None:
    featurize.run(make_job("featurize", data, *SMALL))
    (data / "augment" / "train-color_1.h5").unlink()
    featurize.run(make_job("featurize", data, *SMALL))
    assert not (data / "featurize" / "train-color_1.h5").exists()


def test_without_images_it_says_what_to_run(tmp_path: Path, make_job: MakeJob) -> None:
    with pytest.raises(StorageError, match="Run prepare"):
        featurize.run(make_job("featurize", tmp_path / "data", *SMALL))
