"""The project's own images, on which predict, export and serve measure their classifier."""

from pathlib import Path
from typing import TYPE_CHECKING

from cache.records import UNAUGMENTED
from stages._cli import Job

if TYPE_CHECKING:
    from pipeline.inference.answers import Answerer
    from pipeline.inference.measured import Measured, OwnImages


def measured_for(job: Job, answer: "Answerer", bundle: Path | None) -> "Measured | None":
    """From the bundle if there is one, else from the project; None if it has no images of these classes and size."""
    from pipeline.inference.measured import measure, read_measured

    if bundle is not None:
        return read_measured(bundle)
    train = own_images(job, "train", answer)
    return None if train is None else measure(answer, train, own_images(job, "val", answer), job.progress)


def own_images(job: Job, split: str, answer: "Answerer") -> "OwnImages | None":
    """The unaugmented images of a split, with their features if the classifier reads these; None if there are none."""
    from pipeline.inference.measured import OwnImages

    images = job.images(split).get(UNAUGMENTED) if job.has_made("prepare") else None
    is_cached = answer.head is not None and job.has_made("featurize")
    features = job.features(split).get(UNAUGMENTED) if is_cached else None
    return None if images is None else OwnImages(images, features)
