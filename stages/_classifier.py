"""What evaluate, predict and export share: their classifier, the views that it averages over, and where they write."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from cache.errors import StorageError
from cache.files import storage_error
from cache.records import UNAUGMENTED
from stages._cli import Job

if TYPE_CHECKING:
    from pipeline.inference.bundle import Bundle

VIEWS_HELP = (
    "views to average over: flip,crops,jitter,affine; `auto` chooses on val; `none`; default: evaluate.views, or those "
    "of the bundle"
)
OF_BUNDLE = "bundle"


def read_bundle(job: Job, folder: Path | None, asked: Mapping[str, Any]) -> "Bundle":
    """An exported bundle if a folder is named, else the project's classifier.

    Prints which engine stands in, and which values of params.yaml do not hold, if any.

    asked: values of --set, which must not contradict what the classifier was trained with.
    """
    from pipeline.inference.bundle import check_asked, load_bundle, open_bundle, overruled
    from pipeline.inference.restore import Project

    if folder is None:
        bundle = open_bundle(job.classifier_folder, Project(job.data, job.params.featurize, asked))
        notes = [bundle.note, overruled(bundle, job.params.sections)]
    else:
        bundle = load_bundle(folder)
        check_asked(bundle, asked)
        notes = [bundle.note]
    for note in filter(None, notes):
        typer.echo(f"{job.stage}: {note}", err=True)
    return bundle


def views_of_flag(job: Job, text: str | None, folder: Path | None) -> Sequence[str]:
    """The names that a flag gives; without it those of `evaluate.views`, or `bundle` for an exported one's own."""
    if text is not None:
        return tuple(name.strip() for name in text.split(",") if name.strip())
    if folder is not None:
        return (OF_BUNDLE,)
    views = job.params.evaluate.views
    return (views,) if isinstance(views, str) else views


def choose_views(job: Job, bundle: "Bundle", names: Sequence[str]) -> tuple[str, ...]:
    """The views of these names. `auto` is chosen on val, never on test."""
    names = tuple(names)
    if names == (OF_BUNDLE,):
        return bundle.views
    if names in ((), ("none",)):
        return ()
    from pipeline.inference import tta

    if names != ("auto",):
        return tta.check_views(names)
    val = job.images("val").get(UNAUGMENTED)
    if val is None:
        remedy = "Name the views, such as --views flip."
        raise StorageError("there is no val split to choose views on", where=job.data / "prepare", remedy=remedy)
    with job.progress(len(val), "image", "views") as advance:
        names = tta.choose_views(bundle.classifier, val, advance)
    typer.echo(f"{job.stage}: views chosen on val: {', '.join(names) or 'none'}", err=True)
    return names


def check_target(out: Path) -> None:
    """Refuse a file that cannot be written before any work is done for it."""
    if out.is_dir():
        raise StorageError("is a folder", where=out, expected="a file to write")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise storage_error(out, error) from error
