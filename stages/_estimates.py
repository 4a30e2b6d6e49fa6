"""What estimate and start print: a line per stage, and what all of it takes."""

import json
from collections.abc import Collection, Mapping
from pathlib import Path

import typer

from cache.errors import AugcacheError
from cache.files import free_space, write_text
from cache.records import ImageSet
from pipeline.config.params import Params
from pipeline.runtime.run_record import ESTIMATES, record_path
from stages._cli import Job


def print_estimates(params: Params, job: Job, due: Collection[str]) -> tuple[dict[str, float], float]:
    """Print a line per stage and a total; return seconds by stage and bytes of all. due: the stages that would run."""
    from pipeline.estimate.plan import PreviousRun, estimate_all, span
    from pipeline.ingest.manifest import describes

    manifest = job.data / "prepare" / "manifest.json"
    alike = manifest.exists() and describes(manifest.read_text(encoding="utf-8"), params.prepare)
    prepared = _usable_sets(job, "prepare") if alike else {}
    past = PreviousRun(prepared, _usable_sets(job, "augment") if prepared else {}, free_space(job.data))
    typer.echo(f"{'stage':<13}{'rows':>12}{'in the cache':>14}{'time':>12}{'disk':>12}{'memory':>12}")
    seconds: dict[str, float] = {}
    disk = 0.0
    for estimated in estimate_all(params, past, due):
        seconds[estimated.stage] = estimated.seconds
        disk = disk + estimated.disk
        cells = f"{span(estimated.seconds):>12}{estimated.disk / 1e6:>9,.0f} MB{estimated.memory / 1e6:>9,.0f} MB"
        typer.echo(f"{estimated.stage:<13}{estimated.rows:>12,}{estimated.cached:>14,}{cells}")
        if estimated.note:
            typer.echo(f"  {estimated.note}")
    if manifest.exists() and not alike:
        typer.echo("  prepare will make other sets than those that are there; what is cached of them is not counted")
    typer.echo(f"{'all':<13}{'':>26}{span(sum(seconds.values())):>12}{disk / 1e6:>9,.0f} MB")
    return seconds, disk


def _usable_sets(job: Job, stage: str) -> dict[str, ImageSet]:
    """What a stage has made; nothing if any of it is damaged or, of an interrupted run, does not fit together."""
    try:
        return job.sets(stage)
    except AugcacheError:
        typer.echo(f"what {stage} left, interrupted or damaged, is not counted: it will be made again")
        return {}


def keep_estimates(data: Path, seconds: Mapping[str, float]) -> None:
    """Keep what stages will take, for watch. seconds: by stage."""
    write_text(record_path(data, ESTIMATES), json.dumps(dict(seconds), indent=2) + "\n")
