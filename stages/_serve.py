"""What serve puts behind its page."""

import csv
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cache.records import UNAUGMENTED
from stages._classifier import read_bundle
from stages._cli import Job
from stages._measure import answers_for, chosen_rows, measured_for
from stages._views import choose_views, views_of_flag

if TYPE_CHECKING:
    from pipeline.inference.answers import Answerer
    from pipeline.inference.server import Service, TrainingImages

PAGE = Path(__file__).parents[1] / "pipeline" / "report" / "templates" / "serve.html"


def make_service(job: Job, bundle: Path | None, views: str | None, overrides: list[str]) -> "Service":
    """The project's classifier or a bundle, with all that its answers are explained by."""
    from dataclasses import replace

    from pipeline.inference.answers import Answerer
    from pipeline.inference.restore import asked_values
    from pipeline.inference.server import Service
    from pipeline.ingest.decode import DecodeOptions

    classifier = read_bundle(job, bundle, asked_values(job.params.sections, overrides))
    names = views_of_flag(job, views, classifier if bundle is not None else None)
    answer = Answerer(classifier, choose_views(job, classifier.classifier, names))
    options = replace(DecodeOptions.of(job.params.prepare, classifier.bit_depth), fit=classifier.fit)
    measured = measured_for(job, answer, bundle)
    training = None if bundle is not None or measured is None else training_images(job, answer)
    return Service(answer, PAGE.read_bytes(), options, measured, training)


def training_images(job: Job, answer: "Answerer") -> "TrainingImages":
    """Some of train, whose features `measure` has computed already."""
    from pipeline.inference.server import TrainingImages

    train = job.images("train")[UNAUGMENTED]
    chosen = chosen_rows(train)
    path = job.data / "prepare" / "files.csv"
    files = {}
    if path.exists():
        with path.open(encoding="utf-8", newline="") as file:
            files = {row["id"]: row["path"] for row in csv.DictReader(file)}
    return TrainingImages(
        images=train.images[chosen],
        features=answers_for(job, answer, "train", train, chosen).features,
        labels=[train.classes[label] for label in np.asarray(train.labels)[chosen]],
        files=[files.get(own.decode(), "") for own in np.asarray(train.ids)[chosen]],
    )
