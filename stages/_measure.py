"""What predict, export and serve know of the classifier from the project's own images."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cache.layout import Array
from cache.records import UNAUGMENTED, ImageSet
from stages._cli import Job

if TYPE_CHECKING:
    from pipeline.inference.answers import Answerer, Answers
    from pipeline.inference.measured import Measured

MOST_TRAIN = 2000  # images of train that stand for the classes


def measured_for(job: Job, answer: "Answerer", bundle: Path | None) -> "Measured | None":
    """From the bundle if there is one, else from the project."""
    from pipeline.inference.measured import read_measured

    return measure(job, answer) if bundle is None else read_measured(bundle)


def measure(job: Job, answer: "Answerer") -> "Measured | None":
    """On val of the project; None if its images are not there, or are of other classes or of another size."""
    from pipeline.inference.known import fit_known_classes
    from pipeline.inference.measured import Measured

    classes = answer.bundle.classes
    train = job.images("train").get(UNAUGMENTED) if job.has_made("prepare") else None
    if train is None or train.classes != classes or train.images.shape[1] != answer.bundle.size:
        return None
    val = job.images("val").get(UNAUGMENTED)
    chosen = chosen_rows(train)
    with job.progress(len(chosen) + len(val if val is not None else ()), "image", "measure") as advance:
        features = answers_for(job, answer, "train", train, chosen).features
        advance(len(chosen))
        answers = None if val is None else answers_for(job, answer, "val", val, np.arange(len(val)))
    labels = np.empty(0, dtype=np.int64) if val is None else np.asarray(val.labels)
    probabilities: Array = np.empty((0, len(classes)), np.float32) if answers is None else answers.probabilities
    known = None
    if features.shape[1]:
        unseen = None if answers is None else answers.features
        known = fit_known_classes(features, np.asarray(train.labels)[chosen], unseen)
    return Measured(probabilities, labels, known)


def chosen_rows(train: ImageSet) -> Array:
    """At most `MOST_TRAIN` rows, evenly spread."""
    return np.unique(np.linspace(0, len(train) - 1, min(len(train), MOST_TRAIN)).round().astype(int))


def answers_for(job: Job, answer: "Answerer", split: str, images: ImageSet, rows: Array) -> "Answers":
    """The answers for rows of a split; by featurize's own features if the classifier reads these."""
    from pipeline.inference.answers import Answers
    from pipeline.inference.restore import FeaturizedHead

    classifier = answer.bundle.classifier
    if isinstance(classifier, FeaturizedHead) and not answer.views and job.has_made("featurize"):
        cached = job.features(split).get(UNAUGMENTED)
        if cached is not None and classifier.head.reads(cached.recipe) and np.array_equal(cached.ids, images.ids):
            features = cached.features[rows]
            return Answers(classifier.head.probabilities(features), features.astype(np.float32), 0)
    return answer(images.images[rows])
