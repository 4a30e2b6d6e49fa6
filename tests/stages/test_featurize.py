"""featurize: a row is computed once, whatever happens to the files around it."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from cache.errors import InputError, StorageError
from cache.reader import read_features, read_images
from cache.records import ImageSet
from cache.writer import write_images
from pipeline.features import featurizer
from stages import featurize

MakeJob = Callable[..., "featurize.Job"]
MINI = "featurize.backbone=efficientnet-mini"
SMALL = (MINI, "featurize.size=32", "featurize.batch=16", "featurize.rows_per_task=3", "featurize.device=cpu")


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
    features = read_features(data / "featurize" / "train-color_1.h5")
    source = read_images(data / "augment" / "train-color_1.h5")
    assert np.array_equal(features.ids, source.ids) and np.array_equal(features.labels, source.labels)
    assert (features.variant, features.backbone) == ("color_1", "efficientnet-mini")
    assert features.features.dtype == np.float16


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


def test_images_that_must_be_enlarged_are_said_and_recorded(
    data: Path, make_job: MakeJob, capsys: pytest.CaptureFixture[str]
) -> None:
    job = make_job("featurize", data, *SMALL, "featurize.size=48")
    featurize.run(job)
    said = capsys.readouterr().out
    assert (
        "stored images of 32 px are ENLARGED to featurize.size, 48 px; with prepare.size and augment.size auto" in said
    )
    assert len(job.facts["remarks"]) == 1 and job.facts["remarks"][0] in said
    job = make_job("featurize", data, *SMALL)
    featurize.run(job)
    assert "ENLARGED" not in capsys.readouterr().out and job.facts["remarks"] == []


def test_an_engine_that_auto_cannot_use_is_said_and_recorded(
    data: Path, make_job: MakeJob, capsys: pytest.CaptureFixture[str]
) -> None:
    """A Vision Transformer with rotary embedding cannot be exported."""
    backbone = ("featurize.backbone=timm:eva02_tiny_patch14_224", "featurize.weights=random", "featurize.size=28")
    job = make_job("featurize", data, *SMALL, *backbone)
    featurize.run(job)
    assert "engine auto takes eager: this backbone cannot be exported to ONNX" in capsys.readouterr().out
    assert job.facts["engine"] == "eager"
    recipe = read_features(data / "featurize" / "train-unaugmented.h5").recipe
    assert recipe["engine"] == "eager"


def test_layers_stand_side_by_side_with_their_names_and_widths(data: Path, make_job: MakeJob) -> None:
    featurize.run(make_job("featurize", data, *SMALL))
    path = data / "featurize" / "train-unaugmented.h5"
    last = read_features(path).features[:]
    assert "15 computed" in featurize.run(make_job("featurize", data, *SMALL, "featurize.layers=all"))
    everything = read_features(path)
    groups = everything.recipe["groups"]
    assert sum(width for _, width in groups) == everything.features.shape[1] == last.shape[1] + 1184
    rounding = 4 * np.finfo(np.float16).eps  # ONNX Runtime may fuse less where inner outputs are wanted
    assert np.allclose(everything.features[:][:, : groups[0][1]], last, rtol=rounding, atol=rounding)
    assert "0 computed" in featurize.run(make_job("featurize", data, *SMALL))


def test_features_beyond_float16_are_one_line_with_the_remedy(
    data: Path, make_job: MakeJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.features.featurizer.resized", lambda pixels, size, interpolation: pixels * 1e6)
    featurizer._network.cache_clear()
    with pytest.raises(InputError, match=r"too large for float16.*65,504.*featurize\.dtype=float32"):
        featurize.run(make_job("featurize", data, *SMALL))
    featurizer._network.cache_clear()


def test_backbones_are_listed(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "stages.featurize", "--backbones"]
    own = os.environ | {"HF_HOME": str(tmp_path), "AUGCACHE_WEIGHTS": str(tmp_path)}
    lines = subprocess.run(command, capture_output=True, text=True, env=own, check=True).stdout.splitlines()
    by_name = {tuple(line.split()[:2]): line for line in lines}
    assert "on disk" in by_name["efficientnet-mini", "advprop"] and "AdvProp" in by_name["efficientnet-mini", "advprop"]
    assert "16.2 MB   224 px  apache-2.0    AdvProp" in by_name["efficientnet-b0", "advprop"]
    assert "on disk" not in by_name["efficientnet-b0", "advprop"]
    assert ("efficientnet-b8", "imagenet") not in by_name
    assert "AdvProp" in by_name["timm:tf_efficientnet_b0.ap_in1k", "pretrained"]
    command = [sys.executable, "-m", "stages.featurize", "timm:*"]
    refused = subprocess.run(command, capture_output=True, text=True, check=False)
    assert refused.returncode == 2 and "names to list go with --backbones" in refused.stderr
