"""Run several stages by one command, in their order: what `dvc repro` does, started once and without DVC.

\b
  python -m stages.run                                            all that dvc.yaml has
  python -m stages.run prepare augment featurize train_head       from images to a trained head
Each stage reads params.yaml, writes to its folder below data and prints its summary, as when it is run by itself; the
files are the same. Torch is loaded once, and the backbone made ready while prepare and augment run in a process of
their own. Stages that have nothing to do take their result from what is there: unchanged variants are kept, known
features are not computed again. Without --set, --params and --data, `dvc commit --force` and the names of the stages
that ran tells DVC that they are up to date.
"""

from importlib import import_module
from typing import Annotated

import typer

from pipeline.config.params import STAGES
from stages._cli import DATA, PARAMS, Data, Debug, Flags, Overrides, Quiet, Values, description, make_app
from stages._job import run_locked
from stages._process import run_to_end, running
from stages._run import run_while_loading

app = make_app()
WITHOUT_TORCH = ("prepare", "augment")


@app.command(help=description())
def command(
    stages: Annotated[list[str] | None, typer.Argument(help=f"from {', '.join(STAGES)}; all if none is named")] = None,
    params: Values = PARAMS,
    override: Overrides = None,
    data: Data = DATA,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Refuse unknown names, then run stage by stage; the first error ends it."""
    unknown = [name for name in stages or () if name not in STAGES]
    if unknown:
        raise typer.BadParameter(f"there is no stage {unknown[0]}; there are {', '.join(STAGES)}", param_hint="STAGES")
    flags = Flags(params, override, data, None, quiet, debug)
    with running("run", debug):
        jobs = {stage: flags.job(stage) for stage in STAGES if not stages or stage in stages}
    beside = [stage for stage in jobs if stage in WITHOUT_TORCH and "featurize" in jobs]
    if beside:
        with running("featurize", debug):
            run_while_loading(beside, flags, jobs["featurize"])
    for stage, job in jobs.items():
        if stage not in beside:
            with running(stage, debug):
                run_locked(job, import_module(f"stages.{stage}").run)


if __name__ == "__main__":
    run_to_end(app)
