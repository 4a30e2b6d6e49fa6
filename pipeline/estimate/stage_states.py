"""How far each stage is, by its progress file, records of earlier runs, estimates, and what DVC has left."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.config.gan import OFF as NO_GAN
from pipeline.config.params import Params
from pipeline.config.shared.stages import GAN, TRAIN_MODEL
from pipeline.config.train_model import OFF as NO_MODEL
from pipeline.estimate.due import reasons_to_run, upstream
from pipeline.report.watch_page import Watched, WatchedStage
from pipeline.runtime.progress_file import (
    DONE,
    INTERRUPTED,
    KILLED,
    RUNNING,
    StageProgress,
    Step,
    read_all_progress,
)
from pipeline.runtime.run_record import ESTIMATES, read_record, record_path

UP_TO_DATE = "up to date"
WAITS = "waits"
OFF = "off"
SILENCE = 60.0  # seconds without a word, which are mentioned
REASONS = {
    KILLED: "its process is gone; the same command resumes",
    INTERRUPTED: "the same command resumes",
}


@dataclass(frozen=True)
class Place:
    """What is watched. folder: of dvc.yaml and dvc.lock. uses_dvc: whether data is the folder that DVC knows."""

    folder: Path
    data: Path
    params: Params
    uses_dvc: bool


def stages_now(place: Place) -> Watched:
    """All stages as they are now: those of dvc.yaml in order, then commands that are no stage but run."""
    order = upstream(place.folder)
    progress = read_all_progress(place.data)
    reasons = reasons_to_run(place.folder) if place.uses_dvc else {}
    shown: dict[str, WatchedStage] = {}
    for name, before in order.items():
        unfinished = [other for other in before if shown[other].state not in (UP_TO_DATE, OFF)]
        shown[name] = _stage(place, name, progress.get(name), _reason(place, name, before, unfinished, reasons))
    for name, own in progress.items():
        if name not in shown and own.state != DONE:
            shown[name] = _unfinished(place.data, own)
    return Watched(tuple(shown.values()), time.strftime("%H:%M:%S"))


def _stage(place: Place, name: str, progress: StageProgress | None, reason: str) -> WatchedStage:
    if progress is not None and progress.state != DONE:
        return _unfinished(place.data, progress)
    record = read_record(place.data, name)
    curves = [] if progress is None else progress.curves
    if name in switched_off(place.params):
        return WatchedStage(name, OFF, "switched off in params.yaml")
    if reason:
        return WatchedStage(name, WAITS, reason, left=expected_seconds(place.data, name), curves=curves)
    summary = str(record.get("summary", "")) if record else ""
    return WatchedStage(name, UP_TO_DATE, summary, seconds=record.get("seconds") if record else None, curves=curves)


def _unfinished(data: Path, progress: StageProgress) -> WatchedStage:
    """A stage that runs, or that ended before it was done."""
    expected = expected_seconds(data, progress.stage)
    step = progress.step
    if progress.state != RUNNING:
        text = progress.text or REASONS.get(progress.state, "")
        return WatchedStage(progress.stage, progress.state, text, left=expected, curves=progress.curves)
    silent = time.time() - progress.written
    return WatchedStage(
        name=progress.stage,
        state=RUNNING,
        text=f"no step done for {silent:.0f} s" if silent > SILENCE else "",
        step="" if step is None else counted(step),
        share=None if step is None else step.share,
        seconds=progress.seconds,
        left=seconds_left(progress, expected),
        curves=progress.curves,
    )


def counted(step: Step) -> str:
    """Such as `decode: 120 of 1,797 images`."""
    label = f"{step.label}: " if step.label else ""
    unit = {"img": "images"}.get(step.unit, step.unit if step.unit.isupper() else f"{step.unit}s")
    return f"{label}{step.done:,} of {step.total:,} {unit}" if step.total else (step.label or unit)


def seconds_left(progress: StageProgress, expected: float | None) -> float | None:
    """At the rate of its latest step, and at least what the last run or the estimate says; None if neither knows."""
    by_rate = None if progress.step is None else progress.step.seconds_left
    by_record = None if expected is None or expected <= progress.seconds else expected - progress.seconds
    known = [seconds for seconds in (by_rate, by_record) if seconds is not None]
    return max(known) if known else None


def expected_seconds(data: Path, stage: str) -> float | None:
    """What a stage takes: of its last run and of the estimate, whichever is newer; None without either."""
    sources = [
        (_written(data, name), read_record(data, name).get(key))
        for name, key in ((stage, "seconds"), (ESTIMATES, stage))
    ]
    known = [(written, float(seconds)) for written, seconds in sources if isinstance(seconds, int | float)]
    return max(known)[1] if known else None


def switched_off(params: Params) -> set[str]:
    """Stages that only say that they are off."""
    gan = {GAN} if params.gan.kind == NO_GAN else set()
    return gan | ({TRAIN_MODEL} if params.train_model.recipe == NO_MODEL else set())


def _reason(
    place: Place, name: str, before: Sequence[str], unfinished: Sequence[str], reasons: Mapping[str, str]
) -> str:
    """Why a stage that does not run has to; empty if its outputs are those of the moment."""
    if unfinished:
        return f"for {unfinished[0]}"
    if name in reasons:
        return reasons[name]
    if not record_path(place.data, name).exists():
        return "has not run yet"
    if place.uses_dvc:
        return ""
    newer = [other for other in before if _written(place.data, other) > _written(place.data, name)]
    return f"{newer[0]} has run since" if newer else ""


def _written(data: Path, stage: str) -> float:
    """When it was recorded, in seconds since 1970; 0 if it was not."""
    path = record_path(data, stage)
    return path.stat().st_mtime if path.exists() else 0.0
