"""What serve puts behind its page."""

from pathlib import Path
from typing import TYPE_CHECKING

from stages._classifier import read_bundle
from stages._cli import Job
from stages._measure import measured_for, own_images
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


def training_images(job: Job, answer: "Answerer") -> "TrainingImages | None":
    """Some of train, whose features were needed to measure the classifier."""
    from pipeline.evaluation.source_files import read_source_files
    from pipeline.inference.server import TrainingImages

    train = own_images(job, "train", answer)
    if train is None:
        return None
    rows = train.chosen_rows()
    images = train.images
    sources = read_source_files(job.data / "prepare")
    return TrainingImages(
        images=images.images[rows],
        features=train.answers(answer, rows).features,
        labels=[images.classes[images.labels[row]] for row in rows],
        files=[sources.path("train", row, images.ids[row].decode()) for row in rows],
    )
