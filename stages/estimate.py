"""Say what a run would take, before it: time, disk and memory of each stage, and how much is in the cache.

\b
  python -m stages.estimate
  python -m stages.estimate --set prepare.source=photos --set featurize.backbone=efficientnet-b0

Nothing is written. A few of the images go through each stage's own code on this machine; the rest is arithmetic. Stages
that DVC would skip take nothing. Rows are known to be in the cache only as far as the stages before are up to date.
"""

from pathlib import Path

import typer

from pipeline.config.params import read_params
from pipeline.estimate.due import stages_to_run
from stages._cli import DATA, PARAMS, Data, Debug, Job, Overrides, Quiet, Values, description, make_app
from stages._process import running

app = make_app()


@app.command(help=description())
def main(
    params: Values = PARAMS, override: Overrides = None, data: Data = DATA, quiet: Quiet = False, debug: Debug = False
) -> None:
    """Survey, calibrate, print a line per stage."""
    with running("estimate", debug):
        from stages._estimates import print_estimates

        values = read_params(params, override or [])
        unchanged = read_params(params).sections
        job = Job("estimate", values, data.absolute(), data.absolute(), quiet)
        changed = [name for name, section in values.sections.items() if section != unchanged[name]]
        due = stages_to_run(Path(), changed) if data == DATA else set(values.sections)
        if due:
            print_estimates(values, job, due)
        else:
            typer.echo("estimate: nothing to do, DVC would skip every stage")


if __name__ == "__main__":
    app()
