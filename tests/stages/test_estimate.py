"""`python -m stages.estimate` counts exactly, times roughly, and knows what is there already."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from pipeline.config.augment import AugmentConfig
from pipeline.config.params import read_params
from pipeline.estimate.plan import PreviousRun, estimate_all, span
from pipeline.estimate.timings import Estimate, pool_seconds, worth_of
from pipeline.runtime.workers import STARTUP_SECONDS
from stages import augment, featurize, prepare
from stages.estimate import app

ROOT = Path(__file__).resolve().parents[2]
SMALL = [
    "prepare.size=32", "augment.size=32", "augment.variants=[color_1]", "featurize.size=32", "featurize.batch=16",
    "train_head.schedule=[unaugmented x 1, color_1 x 1]", "train_head.hidden=[]", "evaluate.worth_seeds=1",
    "evaluate.attacks=[{eps: 1, steps: 1, restarts: 1}]", "evaluate.corruptions=[jpeg]", "evaluate.severities=[1]",
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


def test_other_processes_share_what_is_left_once_they_pay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.estimate.timings.worth_of", {4: 2.5}.__getitem__)
    config = read_params(ROOT / "params.yaml", ["augment.workers=4"]).augment
    assert isinstance(config, AugmentConfig)
    assert pool_seconds(1.0, config) == 1.0
    assert pool_seconds(100.0, config) == pytest.approx(2 * STARTUP_SECONDS + (100 - STARTUP_SECONDS) / 2.5)
    assert pool_seconds(100.0, config.model_copy(update={"workers": 1})) == 100.0


def test_processes_side_by_side_do_no_more_than_as_many_and_no_less_than_one() -> None:
    assert worth_of(1) == 1.0
    assert 1.0 <= worth_of(2) < 3.0


def test_a_stage_that_would_be_skipped_is_not_tried(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: Any) -> None:
        raise AssertionError("augment was tried")

    monkeypatch.setattr("pipeline.estimate.plan.estimate_augment", never)
    params = read_params(ROOT / "params.yaml", [f"prepare.source={photos}", *SMALL])
    estimates = {line.stage: line for line in estimate_all(params, PreviousRun({}, {}), {"prepare", "train_head"})}
    assert estimates["augment"] == Estimate("augment", 30, 30, 0.0, 0.0)
    assert estimates["prepare"].seconds > 0 and estimates["train_head"].seconds > 0


def test_where_nothing_would_run_nothing_is_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stages.estimate.stages_to_run", lambda folder, changed: set())
    done = CliRunner().invoke(app, ["--params", str(ROOT / "params.yaml")])
    assert (done.exit_code, done.output) == (0, "estimate: nothing to do, DVC would skip every stage\n")


def test_spans_are_read_by_people() -> None:
    assert [span(seconds) for seconds in (4.4, 150.0, 7200.0)] == ["4 s", "2 min", "2.0 h"]
