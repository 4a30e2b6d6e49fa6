"""`python -m stages.start`: what it says, what it writes, what it never overwrites."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner, Result

from pipeline.config.params import read_params
from pipeline.config.presets import read_presets
from stages import prepare
from stages._cli import Job
from stages._params_file import next_command
from stages.start import app

ROOT = Path(__file__).parents[2]


@pytest.fixture
def params(tmp_path: Path) -> Path:
    path = tmp_path / "params.yaml"
    path.write_text((ROOT / "params.yaml").read_text(encoding="utf-8"), encoding="utf-8")
    return path


def start(photos: object, params: Path, *flags: str) -> Result:
    common = ["--params", str(params), "--data", str(params.parent / "data"), "--no-estimate"]
    return CliRunner().invoke(app, [str(photos), *common, *flags])


def test_it_writes_values_that_run_and_keeps_the_old_ones(photos: Path, params: Path, tmp_path: Path) -> None:
    before = params.read_text()
    result = start(photos, params)
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    assert lines[0] == f"start: looking at {photos}"
    assert lines[1] == "  30 images in 3 classes, 10 per class"
    assert lines[-2] == f"start: wrote {params}; the old one is {params}.bak"
    assert lines[-1].startswith("start: now run   ") and "dvc repro" in lines[-1]
    assert Path(f"{params}.bak").read_text() == before
    written = read_params(params)
    assert written.prepare.source == str(photos)
    assert (written.featurize.backbone, written.report.title) == ("efficientnet-lite0", "photos")
    summary = prepare.run(Job("prepare", written, tmp_path / "data", tmp_path / "data" / "prepare", quiet=True))
    assert summary.startswith("30 images in 3 classes: 21 train, 3 val, 6 test")


def test_a_second_time_nothing_is_written_and_a_change_gets_a_copy_of_its_own(photos: Path, params: Path) -> None:
    start(photos, params)
    again = start(photos, params)
    assert f"start: {params} says all of this already" in again.output
    assert not Path(f"{params}.bak.2").exists()
    start(photos, params, "--size", "96")
    assert Path(f"{params}.bak.2").exists()
    assert read_params(params).prepare.size == 96


def test_comments_of_values_that_stay_are_kept(photos: Path, params: Path) -> None:
    start(photos, params)
    text = params.read_text()
    for comment in ("# Every value", "    spatial: # report 001", "# Commands that are no stage of dvc.yaml"):
        assert (comment in text) is (comment in (ROOT / "params.yaml").read_text()), comment
    assert "stands for the embedded digits" not in text


def test_every_choice_is_a_flag(photos: Path, params: Path) -> None:
    flags = ["--val", "2", "--test", "1", "--size", "80", "--fit", "pad", "--backbone", "efficientnet-lite0"]
    flags += ["--variants", "color_1", "--no-finetune", "--device", "cpu", "--attacks", "--set", "train_head.seed=7"]
    assert start(photos, params, *flags).exit_code == 0
    written = read_params(params)
    assert (written.prepare.val, written.prepare.test, written.prepare.fit) == (2, 1, "pad")
    assert (written.featurize.backbone, written.featurize.weights) == ("efficientnet-lite0", "imagenet")
    assert (written.featurize.size, written.augment.variants) == (80, ["color_1"])
    assert written.train_model.recipe == "none" and written.evaluate.attacks and written.train_head.seed == 7


def keep_findings(params: Path, source: Path) -> None:
    findings = {
        "date": "2026-11-27",
        "variants": ["noise_strong_1", "noise_strong_2"],
        "policies": {"noise_strong": [{"AdditiveGaussianNoise": {"scale": [0, 20]}}]},
        "gain": 0.04,
        "error": 0.01,
    }
    path = params.parent / "data" / "runs" / "search.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"source": str(source), "findings": findings}))


def test_what_a_search_found_on_the_same_photos_is_taken(photos: Path, params: Path) -> None:
    assert "; after the first run, python -m stages.search finds out which pay" in start(photos, params).output
    keep_findings(params, photos)
    result = start(photos, params)
    assert result.exit_code == 0, result.output
    reason = "search found on 2026-11-27 that they lower the cross entropy of unseen images by 0.040 ± 0.010"
    assert f"  variants    noise_strong_1, noise_strong_2: {reason}\n" in result.output
    written = read_params(params)
    assert written.augment.variants == ["noise_strong_1", "noise_strong_2"]
    assert written.augment.policies["noise_strong"] == [{"AdditiveGaussianNoise": {"scale": [0, 20]}}]
    assert str(written.train_head.schedule[1]) == "noise_strong_1 x 2"


def test_what_a_search_found_on_other_photos_is_not_taken(photos: Path, params: Path) -> None:
    keep_findings(params, photos.parent / "others")
    assert "search found" not in start(photos, params).output


@pytest.mark.parametrize("name", read_presets())
def test_a_preset_is_written_as_it_is(name: str, photos: Path, params: Path) -> None:
    make_official(photos)
    result = start(photos, params, "--preset", name)
    assert result.exit_code == 0, result.output
    values = yaml.safe_load(params.read_text())
    for key, value in read_presets()[name].changes.items():
        section, _, name_of = key.partition(".")
        assert values[section][name_of] == value


def make_official(photos: Path) -> None:
    """Move the class folders into train, and a copy of them into test."""
    classes = sorted(photos.iterdir())
    for split in ("train", "test"):
        (photos / split).mkdir()
    for folder in classes:
        folder.rename(photos / "train" / folder.name)
        (photos / "test" / folder.name).mkdir()
        for path in sorted((photos / "train" / folder.name).iterdir())[:3]:
            path.rename(photos / "test" / folder.name / path.name)


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        (["--preset", "tiny"], "--preset: unknown name; expected one of tiny-imagenet-report"),
        (["--val", "2.5"], "params.yaml prepare.val"),
        (["--backbone", "efficientnet-x"], "params.yaml featurize.backbone: unknown name"),
        (["--fit", "stretch"], "params.yaml prepare.fit"),
        (["--variants", "nothing_1"], "names no policy"),
        (["--set", "prepare.sizes=3"], "unknown name; expected one of source, layout"),
    ],
)
def test_a_wrong_flag_is_one_line_and_writes_nothing(photos: Path, params: Path, flags: list[str], line: str) -> None:
    before = params.read_text()
    result = start(photos, params, *flags)
    assert result.exit_code == 2, result.output
    assert result.stderr.startswith("error: ") and result.stderr.count("\n") == 1
    assert line in result.stderr
    assert params.read_text() == before and not Path(f"{params}.bak").exists()


def test_no_images_is_one_line(tmp_path: Path, params: Path) -> None:
    (tmp_path / "empty").mkdir()
    result = start(tmp_path / "empty", params)
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert "holds no images" in result.stderr


def test_what_runs_by_itself_is_not_told_to_be_run(photos: Path, params: Path) -> None:
    """make run goes on by itself."""
    result = start(photos, params, "--no-next")
    assert result.exit_code == 0 and "now run" not in result.output
    assert result.output.splitlines()[-1].startswith("start: wrote ")


def test_broken_files_are_not_counted_among_the_images(photos: Path, params: Path) -> None:
    (photos / "bee" / "broken.jpg").write_bytes(b"\xff\xd8\xff no image")
    lines = start(photos, params).output.splitlines()
    assert lines[1] == "  30 images in 3 classes, 10 per class"
    assert any(line.startswith("  1 more cannot be read: bee/broken.jpg") for line in lines)


def test_a_dry_run_writes_nothing(photos: Path, params: Path) -> None:
    before = params.read_text()
    assert "start: nothing was written (--dry-run)" in start(photos, params, "--dry-run").output
    assert params.read_text() == before


def test_time_is_estimated_and_fine_tuning_left_out_if_it_takes_too_long(photos: Path, params: Path) -> None:
    tiny = ["--backbone", "efficientnet:0.25x0.2/2", "--weights", "random", "--size", "32", "--variants", ""]
    small = ["evaluate.corruptions=[]", "evaluate.worth_seeds=0", "featurize.batch=16"]
    sets = [part for value in small for part in ("--set", value)]
    result = CliRunner().invoke(
        app, [str(photos), "--params", str(params), "--data", str(params.parent / "d"), "--minutes", "0", *tiny, *sets]
    )
    assert result.exit_code == 0, result.output
    assert "\ntrain_model " in result.output and "\nall " in result.output
    assert re.search(r"fine-tuning no: the whole would take \d+ minutes, more than --minutes 0", result.output)
    assert read_params(params).train_model.recipe == "none"


def test_make_run_needs_a_source() -> None:
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert re.search(
        r'\n\t@python -m stages.start "\$\(SOURCE\)" --no-next \$\(FLAGS\)\n\t@echo .*\n\t@dvc repro\n', text
    )
    done = subprocess.run(
        [sys.executable, "-m", "stages.start", "--help"], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert "--preset" in done.stdout and "--dry-run" in done.stdout


def test_the_command_at_the_end_starts_this_python(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    own = Path(sys.executable).parent
    for name in ("python", "dvc"):
        (tmp_path / name).write_text("#!/bin/sh")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert next_command(Path("params.yaml")) == f"PATH={os.path.relpath(own)}:$PATH dvc repro"
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    assert next_command(Path("params.yaml")) == "dvc repro"
