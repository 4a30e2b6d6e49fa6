"""Predictions that evaluate wrote, from a folder or from a revision that DVC knows."""

import subprocess
import sys
from pathlib import Path

from cache.errors import InputError
from pipeline.config.shared.stages import EVALUATE
from pipeline.config.shared.variants import variant_order
from pipeline.metrics.predictions import Predictions, from_npz
from pipeline.runtime.progress_file import RUNNING, read_all_progress

OUTPUT = f"data/{EVALUATE}"
PREFIX = "predictions-"


def find_run(name: str, scratch: Path) -> Path:
    """The folder of predictions of a data folder, an evaluate folder, or a git revision or DVC experiment.

    Those of a revision are copied to `scratch` from DVC's cache. Raises InputError if there are none.
    """
    for folder in (Path(name) / EVALUATE, Path(name)):
        if any(folder.glob(f"{PREFIX}*.npz")):
            return folder
    if Path(name).is_dir():
        raise InputError("holds no predictions", where=name, expected=f"{PREFIX}<variant>.npz", remedy="Run evaluate.")
    command = [sys.executable, "-m", "dvc", "get", ".", OUTPUT, "--rev", name, "--out", str(scratch), "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - no shell
    if done.returncode:
        message = next((line for line in done.stderr.splitlines() if line.startswith("ERROR")), "")
        what = "neither a folder nor a revision that DVC knows"
        actual = message.removeprefix("ERROR: ") or None
        remedy = "Name a data folder, a commit with its dvc.lock, or an experiment (`dvc exp list`)."
        raise InputError(what, where=name, found=actual, remedy=remedy)
    return scratch


def read_predictions(folder: Path) -> dict[str, Predictions]:
    """Predictions by variant, unaugmented first."""
    paths = {path.stem.removeprefix(PREFIX): path for path in folder.glob(f"{PREFIX}*.npz")}
    return {name: from_npz(paths[name].read_bytes(), paths[name]) for name in sorted(paths, key=variant_order)}


def describe_running(*names: str) -> str:
    """What stages that run now mean for a comparison of these folders; empty if none does."""
    remarks = [
        f"{progress.stage} runs in {name} now, and what was compared may be older; "
        for name in names
        for progress in read_all_progress(Path(name)).values()
        if progress.state == RUNNING
    ]
    return "".join(remarks)
