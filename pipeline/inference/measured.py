"""What is measured of a classifier on the project's own images, for whoever uses it, here or elsewhere."""

import hashlib
import io
import json
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cache.errors import DamagedFile
from cache.layout import Array
from cache.records import FeatureSet, ImageSet
from pipeline.inference.answers import Answerer, Answers
from pipeline.inference.bundle import CARD, REMEDY
from pipeline.inference.known import KnownClasses, fit_known_classes
from pipeline.metrics.thresholds import ThresholdError, threshold_error, threshold_errors
from pipeline.runtime.progress import Progress

MOST_TRAIN = 2000  # images of train that stand for the classes
FILE = "measured.npz"  # in a bundle
KNOWN = ("mean", "scale", "centres", "distances")


@dataclass(frozen=True)
class Measured:
    """probabilities: float32 [n, c] of the images of val. labels: int [n]. known: to tell images of no class, or None.

    Without a val split n is 0.
    """

    probabilities: Array
    labels: Array
    known: KnownClasses | None

    def error_above(self, threshold: float) -> ThresholdError | None:
        """How often predictions of at least this probability are wrong; None without val."""
        return threshold_error(self.probabilities, self.labels, threshold) if len(self.labels) else None

    def errors(self) -> list[ThresholdError]:
        """The same at the usual thresholds."""
        return threshold_errors(self.probabilities, self.labels)

    def to_bytes(self) -> bytes:
        """An .npz file."""
        target = io.BytesIO()
        known = {} if self.known is None else {name: getattr(self.known, name) for name in KNOWN}
        np.savez(target, probabilities=self.probabilities, labels=self.labels.astype(np.int64), **known)
        return target.getvalue()


@dataclass(frozen=True)
class OwnImages:
    """The unaugmented images of a split. features: those of featurize, None to compute them."""

    images: ImageSet
    features: FeatureSet | None

    def answers(self, answer: Answerer, rows: Array) -> Answers:
        """For rows of the split; by featurize's own features if the classifier reads these."""
        head = answer.head
        cached = self.features
        if head is None or cached is None or not head.reads(cached.recipe):
            return answer(self.images.images[rows])
        if not np.array_equal(cached.ids, self.images.ids):
            return answer(self.images.images[rows])
        features = cached.features[rows]
        return Answers(head.probabilities(features), features.astype(np.float32), 0)

    def chosen_rows(self) -> Array:
        """At most `MOST_TRAIN` rows, evenly spread."""
        count = len(self.images)
        return np.unique(np.linspace(0, count - 1, min(count, MOST_TRAIN)).round().astype(int))


def measure(answer: Answerer, train: OwnImages, val: OwnImages | None, progress: Progress) -> Measured | None:
    """Of val, and of some of train, which stand for the classes; None if these are other images than it takes."""
    bundle = answer.bundle
    if train.images.classes != bundle.classes or train.images.images.shape[1] != bundle.size:
        return None
    chosen = train.chosen_rows()
    held_out = val or train
    rows = np.arange(0 if val is None else len(val.images))  # without a val split there is none
    with progress(len(chosen) + len(rows), "image", "measure") as advance:
        features = train.answers(answer, chosen).features
        advance(len(chosen))
        unseen = held_out.answers(answer, rows)
    labels = np.asarray(held_out.images.labels)[rows]
    known = None
    if features.shape[1]:
        known = fit_known_classes(features, np.asarray(train.images.labels)[chosen], unseen.features)
    return Measured(unseen.probabilities, labels, known)


def read_measured(folder: Path) -> Measured | None:
    """Of a bundle; None if it says nothing. Raises DamagedFile."""
    path = folder / FILE
    try:
        expected = json.loads((folder / CARD).read_bytes()).get("extras", {}).get(FILE)
        if expected is None:
            return None
        content = path.read_bytes()
        if hashlib.sha256(content).hexdigest() != expected:
            raise DamagedFile("checksum does not match", where=path, remedy=REMEDY)
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            known = KnownClasses(*(arrays[name] for name in KNOWN)) if KNOWN[0] in arrays.files else None
            return Measured(arrays["probabilities"], arrays["labels"], known)
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise DamagedFile("cannot be read", where=path, remedy=REMEDY) from error
