"""`python -m stages.export` packs the trained classifier, and `stages.predict` uses it without the project's data."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from stages import augment, export, featurize, predict, prepare, train_head
from stages._cli import Job

RUNNER = CliRunner()
TINY = (
    *("prepare.size=32", "augment.variants=[]", "featurize.backbone=efficientnet:0.25x0.2/2", "featurize.size=32"),
    *("featurize.batch=16", "train_head.schedule=[unaugmented x 8]", "prepare.val=none", "prepare.test=none"),
)


@pytest.fixture
def project(photos: Path, tmp_path: Path, make_job: Callable[..., Job]) -> list[str]:
    """The flags that name a trained project."""
    chosen = (f"prepare.source={photos}", *TINY)
    for stage in (prepare, augment, featurize, train_head):
        name = stage.__name__.partition(".")[2]
        (tmp_path / "data" / name).mkdir(parents=True)
        stage.run(make_job(name, tmp_path / "data", *chosen))
    return ["--data", str(tmp_path / "data"), *(part for each in chosen for part in ("--set", each))]


def test_a_bundle_predicts_what_the_project_predicts_when_its_data_are_gone(
    project: list[str], photos: Path, tmp_path: Path
) -> None:
    own = RUNNER.invoke(predict.app, ["--images", str(photos), "--out", str(tmp_path / "own.csv"), *project])
    assert own.exit_code == 0, own.output
    assert own.output.startswith("predict: 30 images, top-1 ") and "on 30 with a label" in own.output
    made = RUNNER.invoke(export.app, ["--out", str(tmp_path / "bundle"), *project])
    assert made.exit_code == 0, made.output
    assert made.output.startswith("export: 3 classes, ") and "on 30 images" in made.output
    shutil.rmtree(tmp_path / "data")
    flags = ["--images", str(photos), "--bundle", str(tmp_path / "bundle"), "--out", str(tmp_path / "theirs.csv")]
    theirs = RUNNER.invoke(predict.app, flags)
    assert theirs.exit_code == 0, theirs.output
    assert (tmp_path / "theirs.csv").read_bytes() == (tmp_path / "own.csv").read_bytes()


def test_the_onnx_file_needs_nothing_of_ours(project: list[str], tmp_path: Path) -> None:
    RUNNER.invoke(export.app, ["--out", str(tmp_path / "bundle"), *project])
    code = (
        "import numpy, onnxruntime, sys\n"
        "session = onnxruntime.InferenceSession('bundle/model.onnx')\n"
        "images = numpy.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), dtype=numpy.uint8)\n"
        "print(session.run(None, {'images': images})[0].sum(axis=1).round(5).tolist())\n"
        "assert not {'torch', 'pipeline'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-P", "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert np.allclose(eval(done.stdout), 1)


def test_without_a_head_there_is_one_clear_line(tmp_path: Path) -> None:
    result = RUNNER.invoke(export.app, ["--data", str(tmp_path), "--out", str(tmp_path / "bundle")])
    assert result.exit_code == 2
    assert result.stderr == f"error: {tmp_path}/train_head: no classifier. Run train_head.\n"
    assert not (tmp_path / "bundle").exists()
