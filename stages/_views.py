"""The views that a classifier averages over, by flag, by params.yaml or by a bundle."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import typer

from cache.errors import StorageError
from cache.records import UNAUGMENTED
from stages._cli import Job

if TYPE_CHECKING:
    from pipeline.inference.bundle import Bundle
    from pipeline.inference.tta import ImageClassifier

VIEWS_HELP = (
    "views to average over: flip,crops,jitter,affine; `auto` chooses on val; `none`; default: evaluate.views, or those "
    "of the bundle"
)
NO_VIEWS = ("none",)


def views_of_flag(job: Job, text: str | None, exported: "Bundle | None" = None) -> Sequence[str]:
    """The names that a flag gives; without it those of an exported bundle, or else of `evaluate.views`."""
    if text is not None:
        return tuple(name.strip() for name in text.split(",") if name.strip())
    if exported is not None:
        return exported.views
    views = job.params.evaluate.views
    return (views,) if isinstance(views, str) else views


def choose_views(job: Job, classifier: "ImageClassifier", names: Sequence[str]) -> tuple[str, ...]:
    """The views of these names. `auto` is chosen on val, never on test."""
    names = tuple(names)
    if names in ((), NO_VIEWS):
        return ()
    from pipeline.inference import tta

    if names != ("auto",):
        return tta.check_views(names)
    val = job.images("val").get(UNAUGMENTED)
    if val is None:
        remedy = "Name the views, such as --views flip."
        raise StorageError("there is no val split to choose views on", where=job.data / "prepare", remedy=remedy)
    with job.progress(len(val), "image", "views") as advance:
        names = tta.choose_views(classifier, val, advance)
    typer.echo(f"{job.stage}: views chosen on val: {', '.join(names) or 'none'}", err=True)
    return names
