"""From a folder of photos to a params.yaml: looks at the images, decides what is open, says why and what it will take.

\b
  python -m stages.start photos                 then the command that it names, such as dvc repro
  python -m stages.start photos --size 160 --no-finetune --set train_head.seed=1
  python -m stages.start tiny-imagenet-200.zip --preset tiny-imagenet-report
PHOTOS is whatever prepare reads: one folder per class, a table of labels, an archive. Nothing is asked, and every
choice is a flag. If `python -m stages.search` has run on the same photos, its variants are taken. The old params.yaml
stays beside the new one, as params.yaml.bak. Presets are the reports' jobs: tiny-imagenet-report, few-images-report,
cifar-10-report, attention-report, imbalanced-report.
"""

from typing import Annotated

import typer

from stages import _start as steps
from stages._cli import DATA, PARAMS, Data, Debug, Overrides, Quiet, Values, description, make_app
from stages._process import running

app = make_app()


@app.command(help=description())
def main(  # noqa: PLR0913, PLR0917 - one per flag
    photos: Annotated[str, typer.Argument(help="folder or archive of labelled images, or a table of labels")],
    preset: Annotated[str | None, typer.Option(help="a job by name")] = None,
    val: Annotated[str | None, typer.Option(help="a fraction, a count per class, `official` or `none`")] = None,
    test: Annotated[str | None, typer.Option(help="as for --val")] = None,
    size: Annotated[int | None, typer.Option(help="side in pixels of stored images and of the backbone")] = None,
    fit: Annotated[str | None, typer.Option(help="crop, pad or squash images that are not square")] = None,
    backbone: Annotated[str | None, typer.Option(help="as featurize.backbone")] = None,
    weights: Annotated[str | None, typer.Option(help="as featurize.weights")] = None,
    variants: Annotated[str | None, typer.Option(help="comma-separated, such as flip_1,mild_1; none: ''")] = None,
    flips: Annotated[bool | None, typer.Option(help="whether variants are mirrored")] = None,
    finetune: Annotated[bool | None, typer.Option(help="whether the whole network is trained as well")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu or cuda")] = None,
    attacks: Annotated[bool, typer.Option("--attacks", help="keep evaluate.attacks")] = False,
    minutes: Annotated[float, typer.Option(help="no fine-tuning if all would take longer")] = 60.0,
    estimate: Annotated[bool, typer.Option(help="say what each stage will take, from a short calibration")] = True,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="write nothing")] = False,
    then: Annotated[bool, typer.Option("--next/--no-next", help="end with the command that runs it all")] = True,
    params: Values = PARAMS,
    override: Overrides = None,
    data: Data = DATA,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Look, choose, estimate, write."""
    with running("start", debug):
        from pipeline.estimate.wishes import Wishes

        starting = steps.Starting(photos, params, data, preset, override or [], minutes, estimate, quiet)
        splits = (steps.parsed(val), steps.parsed(test))
        wishes = Wishes(*splits, size, fit, backbone, weights, steps.names(variants), flips, finetune, device, attacks)
        steps.start(starting, wishes, dry_run, then)


if __name__ == "__main__":
    app()
