"""What a person should look at: suspected labels, doubtful images, what more photos would bring, where it looks."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from cache.layout import Array
from cache.records import UNAUGMENTED, FeatureSet
from pipeline.evaluation.evaluate import FeaturesOf
from pipeline.evaluation.learning import ClassGain, LearningPoint, class_gains, learning_points
from pipeline.evaluation.occlusion import OcclusionMap, choose_images, occlusion_drops
from pipeline.evaluation.robustness import RobustnessSample
from pipeline.evaluation.source_files import SourceFiles
from pipeline.heads.cross_validation import CrossValidated, cross_validate, learning_curve
from pipeline.heads.groups import narrowed
from pipeline.heads.suspects import Decisions, rows_to_review
from pipeline.metrics.csv_text import rows_csv
from pipeline.metrics.predictions import Predictions

DOUBTFUL = 50  # images with the lowest confidence that are listed
SPLITS = ("train", "val", "test")
SEED = 0


@dataclass(frozen=True)
class ReviewedImage:
    """An image by heads that have not seen it: its label, what they say instead, and the probabilities of both."""

    split: str
    row: int
    id: str
    path: str
    label: str
    predicted: str
    probability: float
    label_probability: float


@dataclass(frozen=True)
class SuspectedImage(ReviewedImage):
    """expected: how probably its label is wrong, judging by what a person has decided; None if that is too little."""

    expected: float | None


def review_files(features: FeaturesOf, sources: SourceFiles, confidence: float) -> dict[str, bytes]:
    """Texts by file name, over the last layer's unaugmented features of all splits; headers alone without features.

    Nothing is chosen by them: they tell a person where to look.
    """
    sets = {split: features[split][UNAUGMENTED] for split in SPLITS if features.get(split, {}).get(UNAUGMENTED)}
    sets = {split: narrowed(rows) for split, rows in sets.items()}
    suspects: list[SuspectedImage] = []
    unlisted: dict[str, float] = {}
    doubtful: list[ReviewedImage] = []
    points: list[LearningPoint] = []
    gains: list[ClassGain] = []
    if sets:
        rows = _Together.of(sets)
        checked = cross_validate(rows.features, rows.labels, len(rows.classes), SEED)
        if checked is not None:
            suspects, unlisted = _suspects(rows, checked, sources)
            doubtful = _doubtful(rows, checked, sources)
            curve = learning_curve(rows.features, rows.labels, len(rows.classes), checked.strength, SEED)
            points = learning_points(curve, confidence)
            gains = class_gains(curve, rows.labels, rows.classes)
    texts = {
        "suspects.csv": rows_csv(SuspectedImage, suspects),
        "doubtful.csv": rows_csv(ReviewedImage, doubtful),
        "learning_curve.csv": rows_csv(LearningPoint, points),
        "learning_classes.csv": rows_csv(ClassGain, gains),
        "unlisted.json": json.dumps(unlisted) + "\n",
    }
    return {name: text.encode() for name, text in texts.items()}


def occlusion_file(sample: RobustnessSample | None, sources: SourceFiles, test_ids: Array) -> dict[str, bytes]:
    """`occlusion.json`: a map for each of some images; none without images. test_ids: S64 [n], of all of test."""
    maps: list[OcclusionMap] = []
    if sample is not None:
        predictions = next(sample.attacked([]))
        rows_of = {image_id: row for row, image_id in enumerate(test_ids.tolist())}
        for row in choose_images(predictions):
            drops = occlusion_drops(sample.predict, sample.images.images[int(row) : int(row) + 1][0])
            maps.append(_map_of(predictions, int(row), drops, sources, rows_of))
    return {"occlusion.json": (json.dumps([asdict(own) for own in maps]) + "\n").encode()}


def _map_of(
    predictions: Predictions, row: int, drops: Array, sources: SourceFiles, rows_of: Mapping[bytes, int]
) -> OcclusionMap:
    image_id = predictions.ids[row]
    predicted = int(predictions.predicted[row])
    return OcclusionMap(
        id=image_id.decode(),
        path=sources.path("test", rows_of.get(image_id, -1), image_id.decode()),
        actual=predictions.classes[predictions.labels[row]],
        predicted=predictions.classes[predicted],
        probability=round(float(predictions.probabilities[row, predicted]), 6),
        drops=np.round(drops, 4).tolist(),
    )


@dataclass(frozen=True)
class _Together:
    """The rows of all splits below each other. splits, rows: where each one lies."""

    features: Array  # float32 [n, d]
    labels: Array  # int64 [n]
    ids: Array
    splits: Sequence[str]
    rows: Array
    classes: tuple[str, ...]

    @classmethod
    def of(cls, sets: Mapping[str, FeatureSet]) -> "_Together":
        first = next(iter(sets.values()))
        return cls(
            features=np.concatenate([rows.features[:] for rows in sets.values()]).astype(np.float32),
            labels=np.concatenate([rows.labels for rows in sets.values()]).astype(np.int64),
            ids=np.concatenate([rows.ids for rows in sets.values()]),
            splits=[split for split, rows in sets.items() for _ in range(len(rows))],
            rows=np.concatenate([np.arange(len(rows)) for rows in sets.values()]),
            classes=first.classes,
        )

    def reviewed(self, row: int, predicted: int, probabilities: Array, sources: SourceFiles) -> ReviewedImage:
        """One row, with a class that may fit better."""
        split = self.splits[row]
        image_id = self.ids[row].decode()
        return ReviewedImage(
            split=split,
            row=int(self.rows[row]),
            id=image_id,
            path=sources.path(split, int(self.rows[row]), image_id),
            label=self.classes[self.labels[row]],
            predicted=self.classes[predicted],
            probability=float(probabilities[row, predicted]),
            label_probability=float(probabilities[row, self.labels[row]]),
        )


def _suspects(
    rows: _Together, checked: CrossValidated, sources: SourceFiles
) -> tuple[list[SuspectedImage], dict[str, float]]:
    """What is listed, and what is known of the rest: photos that nobody has decided about, and how many are wrong."""
    reviewed = rows_to_review(checked.probabilities, rows.labels, _decisions(rows, sources))
    expected = [None] * len(reviewed.rows) if reviewed.shares is None else reviewed.shares.tolist()
    listed = [
        SuspectedImage(**asdict(rows.reviewed(row, other, checked.probabilities, sources)), expected=share)
        for row, other, share in zip(reviewed.rows.tolist(), reviewed.classes.tolist(), expected, strict=True)
    ]
    elsewhere = reviewed.unlisted_wrong
    return listed, {} if elsewhere is None else {"images": reviewed.unlisted, "expected": elsewhere}


def _decisions(rows: _Together, sources: SourceFiles) -> Decisions:
    """By the files of the rows."""
    numbers = {label: number for number, label in enumerate(rows.classes)}
    former = rows.labels.copy()
    decided, still_open = np.zeros((2, len(former)), dtype=bool)
    for row, image_id in enumerate(rows.ids):
        path = sources.path(rows.splits[row], int(rows.rows[row]), image_id.decode())
        label = sources.former.get(path)
        decided[row] = path in sources.kept or label in numbers
        still_open[row] = path in sources.open
        if label in numbers and path not in sources.kept:
            former[row] = numbers[label]
    return Decisions(former, decided, still_open)


def _doubtful(rows: _Together, checked: CrossValidated, sources: SourceFiles) -> list[ReviewedImage]:
    """Those whose likeliest class is least likely."""
    confidence = checked.probabilities.max(axis=1)
    order = np.argsort(confidence, kind="stable")[:DOUBTFUL].tolist()
    best = checked.probabilities.argmax(axis=1)
    return [rows.reviewed(row, int(best[row]), checked.probabilities, sources) for row in order]
