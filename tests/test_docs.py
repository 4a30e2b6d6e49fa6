"""What the documents show is run."""

import os
import subprocess
import sys
from pathlib import Path

from typer.testing import CliRunner

from stages import export

ROOT = Path(__file__).resolve().parents[1]


def test_the_example_is_short_and_runs(project: list[str], tmp_path: Path) -> None:
    assert len((ROOT / "docs" / "example.py").read_text(encoding="utf-8").splitlines()) <= 30
    made = CliRunner().invoke(export.app, ["--out", str(tmp_path / "bundle"), *project])
    assert made.exit_code == 0, made.output
    command = [sys.executable, "docs/example.py", str(tmp_path / "data"), str(tmp_path / "bundle")]
    own = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=own, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    fit, batch, classes = done.stdout.splitlines()
    assert fit.startswith("logistic regression: ") and fit.endswith(" of 6 test images")
    assert batch.startswith("one batch: (24, ") and batch.endswith("torch.float16, labels of 3 classes")
    assert classes.startswith("[")
