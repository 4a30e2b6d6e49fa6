"""Everything that evaluate says of a classifier: predictions, groups of reports, and tables."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from cache.errors import RecordError
from cache.records import UNAUGMENTED, FeatureSet, ImageSet
from pipeline.config.evaluate import EvaluateConfig
from pipeline.config.shared.variants import GAN_VARIANT, variant_order
from pipeline.evaluation.robustness import RobustnessSample
from pipeline.evaluation.tables import error_tables, metrics_json, per_class_csv
from pipeline.heads.ablation import VariantGain, variant_gains_csv
from pipeline.inference.classifier import Classifier
from pipeline.metrics.calibration import calibration_error, reheated
from pipeline.metrics.csv_text import rows_csv
from pipeline.metrics.near_duplicates import NearDuplicate, near_duplicates
from pipeline.metrics.predictions import Predictions, to_npz
from pipeline.metrics.sample_quality import judge_samples
from pipeline.metrics.scores import Scores, evaluate, size_correlation


@dataclass(frozen=True)
class EvaluationInputs:
    """A classifier and what it is judged by.

    sets: what the classifier reads, by split and variant. features: the cached ones, as far as they are there. probe:
    test images to attack and corrupt, None without. worth: what each variant is worth to the head.
    """

    classifier: Classifier
    sets: Mapping[str, Mapping[str, FeatureSet | ImageSet]]
    features: Mapping[str, Mapping[str, FeatureSet]]
    sample: RobustnessSample | None = None
    worth: Sequence[VariantGain] = ()

    def __post_init__(self) -> None:
        for split in set(self.cached) & set(self.plain):
            if not np.array_equal(self.cached[split].ids, self.plain[split].ids):
                what = "images and features are of different photos"
                raise RecordError(what, where=split, remedy="Run featurize again.")

    @property
    def plain(self) -> dict[str, FeatureSet | ImageSet]:
        """Unaugmented rows by split."""
        return {split: variants[UNAUGMENTED] for split, variants in self.sets.items() if variants}

    @property
    def cached(self) -> dict[str, FeatureSet]:
        """Features of unaugmented rows by split."""
        return {split: variants[UNAUGMENTED] for split, variants in self.features.items() if variants}

    @property
    def test(self) -> list[FeatureSet | ImageSet]:
        """The test split, unaugmented first."""
        variants = self.sets.get("test", {})
        return [variants[variant] for variant in sorted(variants, key=variant_order)]

    def steps(self, config: EvaluateConfig) -> int:
        """How many sets of predictions `judge` makes."""
        probed = [len(config.attacks), len(config.corruptions) * len(config.severities)] if self.sample else []
        return len(self.test) + sum(count + 1 for count in probed if count)


@dataclass(frozen=True)
class Evaluation:
    """predictions: of test, by variant, unaugmented first. groups: reports by group. files: contents by name."""

    predictions: list[Predictions]
    groups: dict[str, list[Scores]]
    files: dict[str, bytes]


def judge(
    inputs: EvaluationInputs, config: EvaluateConfig, advance: Callable[[int], object] = lambda count: None
) -> Evaluation:
    """Predict, attack, corrupt and look for leaks.

    Groups are `test` (by variant), `attacked` and `corrupted` (clean first), and `without_near_duplicates` (by split,
    where there are any).
    """

    def counted(found: Iterator[Predictions]) -> Iterator[Predictions]:
        for predictions in found:
            yield predictions
            advance(1)

    predictions = list(counted(map(inputs.classifier.predict, inputs.test)))
    made: dict[str, list[Predictions]] = {"test": predictions, "attacked": [], "corrupted": []}
    if inputs.sample is not None and config.attacks:
        made["attacked"] = list(counted(inputs.sample.attacked(config.attacks)))
    if inputs.sample is not None and config.corruptions and config.severities:
        made["corrupted"] = list(counted(inputs.sample.corrupted(config.corruptions, config.severities)))
    groups = {name: [evaluate(one, config.confidence) for one in group] for name, group in made.items()}
    leaks = list(_leaks(inputs, config.near_duplicate))
    groups["without_near_duplicates"] = list(_without(inputs, leaks, config.confidence))
    clean = [one for one in predictions if one.variant == UNAUGMENTED]
    trained = inputs.plain.get("train")
    sizes = [] if trained is None else np.bincount(trained.labels, minlength=len(trained.classes)).tolist()
    correlation = size_correlation(groups["test"][0], np.array(sizes)) if groups["test"] and sizes else None
    extra = {"calibration": _calibration(inputs.classifier.temperature, clean)}
    samples, real = inputs.features.get("train", {}).get(GAN_VARIANT), inputs.cached
    if samples is not None and len(samples) > 1:
        extra["gan"] = judge_samples(samples, real["train"], real.get("val"), config.near_duplicate)
    extra |= {} if correlation is None else {"imbalance": {"f1_size_correlation": correlation}}
    texts = {
        "metrics.json": metrics_json(groups, extra),
        "near_duplicates.csv": rows_csv(NearDuplicate, leaks),
        **error_tables(groups["test"][: len(clean)], clean, config.worst),
        **per_class_csv(groups["test"], sizes),
        "variants.csv": variant_gains_csv(inputs.worth, inputs.classifier.classes),
    }
    files = {f"predictions-{one.variant}.npz": to_npz(one) for one in predictions}
    return Evaluation(predictions, groups, files | {name: text.encode() for name, text in texts.items()})


def _calibration(temperature: float, clean: list[Predictions]) -> dict[str, float]:
    """Calibration error of the clean test images with and without the temperature that val gave."""
    found = {"temperature": temperature}
    for one in clean:
        found |= {"ece": calibration_error(one), "ece_without": calibration_error(reheated(one, 1 / temperature))}
    return found


def _leaks(inputs: EvaluationInputs, threshold: float) -> Iterator[NearDuplicate]:
    features = inputs.cached
    held_out = [split for split in features if split != "train"] if "train" in features else []
    for split in held_out:
        yield from near_duplicates(split, features[split], features["train"], threshold)


def _without(inputs: EvaluationInputs, leaks: list[NearDuplicate], confidence: float) -> Iterator[Scores]:
    """Of each split that has near duplicates in train: how good the classifier is on the other images."""
    for split, held_out in inputs.plain.items():
        leaked = [leak.row for leak in leaks if leak.split == split]
        kept = np.setdiff1d(np.arange(len(held_out)), leaked)
        if leaked and len(kept):
            predictions = inputs.classifier.predict(held_out.take(kept))
            yield replace(evaluate(predictions, confidence), variant=split)
