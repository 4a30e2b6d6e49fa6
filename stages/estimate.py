"""Say what a run would take, before it: time, disk and memory of each stage, and how much is in the cache.

\b
  python -m stages.estimate
  python -m stages.estimate --set prepare.source=photos --set featurize.backbone=efficientnet-b0

Nothing is written. A few of the images go through each stage's own code on this machine; the rest is arithmetic. Stages
that DVC would skip take nothing. Rows are known to be in the cache only as far as the stages before are up to date.
"""

from pathlib import Path

import typer

from cache.files import free_space
from pipeline.config.params import read_params
from stages._cli import DATA, PARAMS, Data, Debug, Job, Overrides, Quiet, Values, description, make_app
from stages._due import stages_to_run
from stages._process import running

app = make_app()


@app.command(help=description())
def main(
    params: Values = PARAMS, override: Overrides = None, data: Data = DATA, quiet: Quiet = False, debug: Debug = False
) -> None:
    """Survey, calibrate, print a line per stage."""
    with running("estimate", debug):
        from pipeline.estimate.plan import PreviousRun, estimate_all, span
        from pipeline.ingest.manifest import describes

        values = read_params(params, override or [])
        unchanged = read_params(params).sections
        job = Job("estimate", values, data.absolute(), data.absolute(), quiet)
        changed = [name for name, section in values.sections.items() if section != unchanged[name]]
        due = stages_to_run(Path(), changed) if data == DATA else set(values.sections)
        if not due:
            typer.echo("estimate: nothing to do, DVC would skip every stage")
            return
        manifest = job.data / "prepare" / "manifest.json"
        config = job.params.prepare
        alike = manifest.exists() and describes(manifest.read_text(encoding="utf-8"), config)
        prepared = job.sets("prepare") if alike else {}
        past = PreviousRun(prepared, job.sets("augment") if prepared else {}, free_space(job.data))
        typer.echo(f"{'stage':<13}{'rows':>12}{'in the cache':>14}{'time':>12}{'disk':>12}{'memory':>12}")
        seconds = 0.0
        disk = 0.0
        for estimated in estimate_all(values, past, due):
            seconds = seconds + estimated.seconds
            disk = disk + estimated.disk
            cells = f"{span(estimated.seconds):>12}{estimated.disk / 1e6:>9,.0f} MB{estimated.memory / 1e6:>9,.0f} MB"
            typer.echo(f"{estimated.stage:<13}{estimated.rows:>12,}{estimated.cached:>14,}{cells}")
            if estimated.note:
                typer.echo(f"  {estimated.note}")
        typer.echo(f"{'all':<13}{'':>26}{span(seconds):>12}{disk / 1e6:>9,.0f} MB")


if __name__ == "__main__":
    app()
