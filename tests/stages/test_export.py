"""`python -m stages.export` packs the trained classifier, and `stages.predict` uses it without the project's data."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
from typer.testing import CliRunner

from stages import export, predict

RUNNER = CliRunner()


def test_a_bundle_predicts_what_the_project_predicts_when_its_data_are_gone(
    project: list[str], photos: Path, tmp_path: Path
) -> None:
    own = RUNNER.invoke(predict.app, ["--images", str(photos), "--out", str(tmp_path / "own.csv"), *project])
    assert own.exit_code == 0, own.output
    *said, summary = own.output.splitlines()
    assert len(said) == 1 and "these are images of prepare.source" in said[0]
    assert summary.startswith("predict: 30 images; ") and "on 30 with a label" in summary
    exported = RUNNER.invoke(export.app, ["--out", str(tmp_path / "bundle"), *project])
    assert exported.exit_code == 0, exported.output
    assert exported.output.startswith("export: 3 classes, ") and "on 6 images" in exported.output
    renewed = RUNNER.invoke(export.app, ["--out", str(tmp_path / "views"), "--views", "flip", *project[:2]])
    assert renewed.exit_code == 0, renewed.output
    assert "averaged over flip; ONNX and PyTorch" in renewed.output and "views are not part of" in renewed.output
    no_val = RUNNER.invoke(export.app, ["--out", str(tmp_path / "no"), "--views", "auto", *project])
    assert (no_val.exit_code, no_val.stderr.count("\n")) == (2, 1)
    assert "there is no val split to choose views on. Name the views" in no_val.stderr
    shutil.rmtree(tmp_path / "data")
    flags = ["--images", str(photos), "--bundle", str(tmp_path / "bundle"), "--out", str(tmp_path / "theirs.csv")]
    theirs = RUNNER.invoke(predict.app, flags)
    assert theirs.exit_code == 0, theirs.output
    assert (tmp_path / "theirs.csv").read_bytes() == (tmp_path / "own.csv").read_bytes()
    flags = ["--images", str(photos), "--out", str(tmp_path / "views.csv"), "--bundle"]
    averaged = []
    for more in ((str(tmp_path / "views"),), (str(tmp_path / "bundle"), "--tta", "flip")):
        done = RUNNER.invoke(predict.app, [*flags, *more])
        assert done.exit_code == 0, done.output
        averaged.append((tmp_path / "views.csv").read_bytes())
    assert averaged[0] == averaged[1] != (tmp_path / "own.csv").read_bytes()


def test_the_onnx_file_needs_nothing_of_ours(project: list[str], tmp_path: Path) -> None:
    exported = RUNNER.invoke(export.app, ["--out", str(tmp_path / "bundle"), *project])
    assert exported.exit_code == 0, exported.output
    code = (
        "import numpy, onnxruntime, sys\n"
        "session = onnxruntime.InferenceSession('bundle/model.onnx')\n"
        "images = numpy.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), dtype=numpy.uint8)\n"
        "print(session.run(None, {'images': images})[0].sum(axis=1).round(5).tolist())\n"
        "assert not {'torch', 'pipeline'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-P", "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert np.allclose(json.loads(done.stdout), 1)


def test_without_a_head_there_is_one_clear_line(tmp_path: Path) -> None:
    result = RUNNER.invoke(export.app, ["--data", str(tmp_path), "--out", str(tmp_path / "bundle")])
    assert result.exit_code == 2
    assert result.stderr == f"error: {tmp_path}/train_head: no classifier. Run train_head.\n"
    assert not (tmp_path / "bundle").exists()
