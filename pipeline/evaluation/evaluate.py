"""Predictions and scores of a classifier on test: clean, augmented, attacked, corrupted and without near duplicates."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from cache.records import UNAUGMENTED, FeatureSet, ImageSet
from pipeline.config.evaluate import EvaluateConfig
from pipeline.config.shared.limits import COMPARED_IMAGES
from pipeline.config.shared.variants import GAN_VARIANT, variant_order
from pipeline.evaluation.robustness import RobustnessSample
from pipeline.heads.groups import narrowed
from pipeline.inference.classifier import Classifier
from pipeline.metrics.near_duplicates import NearDuplicate, compared_rows, near_duplicates
from pipeline.metrics.predictions import Predictions
from pipeline.metrics.sample_quality import measure_samples
from pipeline.metrics.scores import Scores, evaluate
from pipeline.metrics.set_checks import check_same_rows

WITHOUT_LEAKS = "without_near_duplicates"
VIEWS = "views"  # stands for a variant: unaugmented images, averaged over views
SetsOf = Mapping[str, Mapping[str, FeatureSet | ImageSet]]  # by split and variant
FeaturesOf = Mapping[str, Mapping[str, FeatureSet]]


@dataclass(frozen=True)
class EvaluationInputs:
    """A classifier and what it is evaluated on.

    sets: what the classifier reads. features: the cached features, as far as they exist. sample: test images to attack
    and corrupt, or None. viewed: predictions for the unaugmented test images averaged over the views `views`, or None.
    Raises RecordError if images and features are of different rows.
    """

    classifier: Classifier
    sets: SetsOf
    features: FeaturesOf
    sample: RobustnessSample | None = None
    views: tuple[str, ...] = ()
    viewed: Predictions | None = None

    def __post_init__(self) -> None:
        features = unaugmented_of(self.features)
        for split, rows in self.plain.items():
            if split in features:
                what = "images and features are of different rows"
                check_same_rows(features[split], rows, what, where=split, remedy="Run featurize again.")

    @property
    def plain(self) -> dict[str, FeatureSet | ImageSet]:
        """Unaugmented rows by split."""
        return unaugmented_of(self.sets)

    @property
    def test(self) -> list[FeatureSet | ImageSet]:
        """The test split, unaugmented first."""
        variants = self.sets.get("test", {})
        return [variants[variant] for variant in sorted(variants, key=variant_order)]

    @property
    def class_sizes(self) -> list[int]:
        """How many training images each class has; empty if unknown."""
        train = self.plain.get("train")
        return [] if train is None else np.bincount(train.labels, minlength=len(train.classes)).tolist()

    def steps(self, config: EvaluateConfig) -> int:
        """How many sets of predictions `evaluate_classifier` makes."""
        counts = [len(config.attacks), len(config.corruptions) * len(config.severities)] if self.sample else []
        return len(self.test) + sum(count + 1 for count in counts if count)


@dataclass(frozen=True)
class Evaluation:
    """What is known of a classifier on test.

    predictions: by group: `test` (by variant, unaugmented first, then their mean over `views` if there are any),
    `attacked` and `corrupted` (clean first). scores: of
    the same, and of the group `without_near_duplicates` by split. class_sizes: training images of each class, empty if
    unknown.
    """

    predictions: Mapping[str, Sequence[Predictions]]
    scores: Mapping[str, Sequence[Scores]]
    classes: tuple[str, ...]
    temperature: float
    class_sizes: Sequence[int]
    views: tuple[str, ...] = ()

    @property
    def clean(self) -> list[Predictions]:
        """Predictions of the unaugmented test images: a list of one, or empty without a test split."""
        return [predictions for predictions in self.predictions["test"] if predictions.variant == UNAUGMENTED]


def unaugmented_of(sets: Mapping[str, Mapping[str, "FeatureSet | ImageSet"]]) -> dict[str, FeatureSet | ImageSet]:
    """The unaugmented set of each split that is there."""
    return {split: variants[UNAUGMENTED] for split, variants in sets.items() if variants}


def evaluate_classifier(
    inputs: EvaluationInputs,
    config: EvaluateConfig,
    leaks: Sequence[NearDuplicate] = (),
    advance: Callable[[int], object] = lambda count: None,
) -> Evaluation:
    """Predict, attack and corrupt. leaks: near duplicates of training images; the scores without them are added."""

    def counted(sets: Iterator[Predictions]) -> Iterator[Predictions]:
        for predictions in sets:
            yield predictions
            advance(1)

    sample = inputs.sample
    groups: dict[str, list[Predictions]] = {"test": [], "attacked": [], "corrupted": []}
    groups["test"] += counted(map(inputs.classifier.predict, inputs.test))
    if inputs.viewed is not None:
        groups["test"].insert(1, replace(inputs.viewed, variant=VIEWS))
    if sample is not None and config.attacks:
        groups["attacked"] += counted(sample.attacked(config.attacks))
    if sample is not None and config.corruptions and config.severities:
        groups["corrupted"] += counted(sample.corrupted(config.corruptions, config.severities))
    scores = {name: [evaluate(rows, config.confidence) for rows in group] for name, group in groups.items()}
    scores[WITHOUT_LEAKS] = list(_without_leaks(inputs, leaks, config.confidence))
    classifier = inputs.classifier
    return Evaluation(
        predictions=groups,
        scores=scores,
        classes=classifier.classes,
        temperature=classifier.temperature,
        class_sizes=inputs.class_sizes,
        views=inputs.views,
    )


def find_leaks(features: FeaturesOf, threshold: float) -> list[NearDuplicate]:
    """Images of val and test that have a near duplicate in train, by their cached features of the last layer."""
    plain = {split: narrowed(variants[UNAUGMENTED]) for split, variants in features.items() if variants}
    train = plain.pop("train", None)
    if train is None:
        return []
    return [leak for split, rows in plain.items() for leak in near_duplicates(split, rows, train, threshold)]


def describe_compared(features: FeaturesOf) -> Iterator[str]:
    """For the terminal: splits of which only a part was compared with train."""
    for split, variants in features.items():
        count = len(variants.get(UNAUGMENTED, ()))
        if split != "train" and count > COMPARED_IMAGES:
            yield f"near duplicates were looked for among {COMPARED_IMAGES:,} of the {count:,} images of {split}"


def gan_quality(features: FeaturesOf, near_duplicate: float) -> dict[str, float]:
    """How good the GAN samples among the cached features are; empty without any."""
    train = features.get("train", {})
    samples = train.get(GAN_VARIANT)
    if samples is None or len(samples) < 2:
        return {}
    return measure_samples(samples, train[UNAUGMENTED], features.get("val", {}).get(UNAUGMENTED), near_duplicate)


def _without_leaks(inputs: EvaluationInputs, leaks: Sequence[NearDuplicate], confidence: float) -> Iterator[Scores]:
    """Scores on the other images of each split that has near duplicates in train."""
    for split, rows in inputs.plain.items():
        leaked = [leak.row for leak in leaks if leak.split == split]
        kept = np.setdiff1d(compared_rows(rows.ids), leaked)
        if leaked and len(kept):
            predictions = inputs.classifier.predict(rows.take(kept))
            yield replace(evaluate(predictions, confidence), variant=split)
