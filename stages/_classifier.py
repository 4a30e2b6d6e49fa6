"""What predict, export and serve share: their classifier, and where they write."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from cache.errors import StorageError
from cache.files import storage_error
from stages._cli import Job

if TYPE_CHECKING:
    from pipeline.inference.bundle import Bundle


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


def check_target(out: Path) -> None:
    """Refuse a file that cannot be written before any work is done for it."""
    if out.is_dir():
        raise StorageError("is a folder", where=out, expected="a file to write")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise storage_error(out, error) from error
