"""`python -m stages.estimate` counts exactly, times roughly, and knows what is there already."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from stages import augment, featurize, prepare
from stages.estimate import app

ROOT = Path(__file__).resolve().parents[2]
SMALL = [
    "prepare.size=32", "augment.size=32", "augment.variants=[color_1]", "featurize.size=32", "featurize.batch=16",
    "train_head.schedule=[unaugmented x 1, color_1 x 1]", "train_head.hidden=[]", "train_model.recipe=none",
    "evaluate.worth_seeds=1", "evaluate.attacks=[{eps: 1, steps: 1, restarts: 1}]", "evaluate.corruptions=[jpeg]",
    "evaluate.severities=[1]",
]  # fmt: skip


def estimate(data: Path, source: Path, *more: str) -> dict[str, list[str]]:
    """The cells of each stage's line."""
    sets = [part for override in (f"prepare.source={source}", *SMALL, *more) for part in ("--set", override)]
    done = CliRunner().invoke(app, ["--params", str(ROOT / "params.yaml"), "--data", str(data), *sets])
    assert done.exit_code == 0, done.output
    return {line.split()[0]: line.split()[1:] for line in done.output.splitlines()[1:]}


def test_rows_are_counted_exactly_and_nothing_is_written(
    photos: Path, tmp_path: Path, make_job: Callable[..., Any]
) -> None:
    data = tmp_path / "data"
    before = estimate(data, photos)
    assert not data.exists()
    assert [before[name][1] for name in ("prepare", "augment", "featurize")] == ["0", "0", "0"]
    for stage, module in (("prepare", prepare), ("augment", augment), ("featurize", featurize)):
        job = make_job(stage, data, f"prepare.source={photos}", *SMALL)
        module.run(job)
        computed = job.facts["rows"]
        assert int(before[stage][0]) == (sum(computed.values()) if stage == "prepare" else computed)
    after = estimate(data, photos)
    assert after["augment"][:2] == ["30", "30"] and after["featurize"][:2] == ["60", "60"]
    other = estimate(data, photos, "featurize.size=48", "augment.seed=1")
    assert other["augment"][:2] == ["30", "0"] and other["featurize"][:2] == ["60", "0"]


def test_sets_that_will_be_others_are_told(photos: Path, tmp_path: Path, make_job: Callable[..., Any]) -> None:
    data = tmp_path / "data"
    prepare.run(make_job("prepare", data, f"prepare.source={photos}", *SMALL))
    sets = [part for text in (f"prepare.source={photos}", *SMALL, "prepare.seed=7") for part in ("--set", text)]
    done = CliRunner().invoke(app, ["--params", str(ROOT / "params.yaml"), "--data", str(data), *sets])
    assert "prepare will make other sets than those that are there" in done.output


def test_sets_of_an_interrupted_or_damaged_run_are_not_counted(
    photos: Path, tmp_path: Path, make_job: Callable[..., Any]
) -> None:
    """The variants are still of the images of before, since augment was killed after prepare."""
    data = tmp_path / "data"
    values = [f"prepare.source={photos}", *SMALL]
    for stage, module in (("prepare", prepare), ("augment", augment)):
        module.run(make_job(stage, data, *values))
    (photos / "ant" / "ant_0.png").unlink()
    prepare.run(make_job("prepare", data, *values))
    sets = [part for text in values for part in ("--set", text)]
    said = "what {} left, interrupted or damaged, is not counted: it will be made again"
    for stage in ("augment", "prepare"):
        done = CliRunner().invoke(app, ["--params", str(ROOT / "params.yaml"), "--data", str(data), *sets])
        assert done.exit_code == 0 and done.output.startswith(said.format(stage)), done.output
        assert "\nall " in done.output
        path = data / "prepare" / "train.h5"
        path.write_bytes(path.read_bytes()[:-100])


def test_a_gan_and_a_full_model_have_lines_of_their_own(photos: Path, tmp_path: Path, store: Path) -> None:
    short = "train_model.override={schedule: [unaugmented x 2], batch: 8}"
    more = ["gan.kind=wgan", "gan.size=8", "gan.samples=5", "train_model.recipe=002-v2-20-standard", short]
    lines = estimate(tmp_path / "data", photos, *more)
    assert lines["gan"][0] == "15" and lines["train_model"][0] == str(2 * int(lines["train_head"][0]) // 2)
    assert not (store / "checkpoints").exists()


def test_a_source_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["--params", str(ROOT / "params.yaml"), "--set", "prepare.source=/nowhere"])
    assert done.exit_code == 2 and done.output.count("\n") <= 2 and "no such folder or archive" in done.output


def test_files_of_which_none_decodes_are_one_line(tmp_path: Path) -> None:
    for name in ("ant", "bee"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(5):
            (tmp_path / "photos" / name / f"{number}.png").write_bytes(b"no image")
    more = ["--data", str(tmp_path / "data"), "--set", f"prepare.source={tmp_path / 'photos'}"]
    done = CliRunner().invoke(app, ["--params", str(ROOT / "params.yaml"), *more])
    assert done.exit_code == 2 and done.stderr.count("\n") == 1
    assert "photos: no image can be read: " in done.stderr


def test_where_nothing_would_run_nothing_is_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stages.estimate.stages_to_run", lambda folder, changed: set())
    done = CliRunner().invoke(app, ["--params", str(ROOT / "params.yaml")])
    assert (done.exit_code, done.output) == (0, "estimate: nothing to do, DVC would skip every stage\n")
