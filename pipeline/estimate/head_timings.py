"""How long training and judging heads will take, from a short calibration on noise of the right shape."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from cache.layout import Array
from cache.records import UNAUGMENTED, FeatureSet, ImageSet
from pipeline.config.evaluate import EvaluateConfig
from pipeline.config.shared.featurize import FeaturizeConfig
from pipeline.config.shared.schedule import Phase, epochs_of
from pipeline.config.shared.stages import EVALUATE, TRAIN_HEAD
from pipeline.config.shared.variants import GAN_VARIANT
from pipeline.config.train_head import TrainHeadConfig
from pipeline.estimate.timings import Estimate, class_names, timed
from pipeline.evaluation.robustness import RobustnessSample
from pipeline.features.backbone import make_backbone
from pipeline.heads.ablation import ablate_schedule
from pipeline.heads.fit import fit_head
from pipeline.inference.classifier import HeadClassifier
from pipeline.inference.compose import compose
from pipeline.metrics.near_duplicates import nearest_rows
from pipeline.metrics.predictions import Predictions
from pipeline.metrics.scores import evaluate
from pipeline.networks.head import Head, predict_logits

HEAD_ROWS = 2048
PROBED = 16


@dataclass(frozen=True)
class HeadCosts:
    """What training and judging heads is about: rows by split, classes, width of features."""

    rows: Mapping[str, int]
    classes: int
    width: int

    def features(self, count: int, variant: str = UNAUGMENTED, seed: int = 0) -> FeatureSet:
        """Noise of this shape."""
        random = np.random.default_rng(seed)
        values = random.standard_normal((count, self.width), dtype=np.float32).astype(np.float16)
        ids = np.array([b"%064x" % (10**9 * seed + number) for number in range(count)])
        return FeatureSet(values, np.arange(count) % self.classes, ids, class_names(self.classes), variant, "noise")


def estimate_train_head(config: TrainHeadConfig, heads: HeadCosts, samples: int) -> Estimate:
    """samples: rows of a GAN's variant. Steps and validation are timed apart."""
    epochs = list(epochs_of(config.schedule))
    few = heads.features(min(max(HEAD_ROWS, 4 * config.batch), heads.rows["train"]))
    head = _one_epoch(few, config)
    step = timed(lambda: _one_epoch(few, config)) / len(few)
    rows = torch.from_numpy(few.features[:])
    look = timed(lambda: predict_logits(head, rows)) / len(few)
    trained = rows_trained(config, heads.rows["train"], samples)
    variants = len(set(epochs) | {UNAUGMENTED})
    judged = len(epochs) * heads.rows.get("val", 0) * variants
    held = (heads.rows["train"] + heads.rows.get("val", 0)) * variants * heads.width * 2
    return Estimate(TRAIN_HEAD, trained, 0, trained * step + judged * look, 0, held)


def rows_trained(config: TrainHeadConfig, images: int, samples: int) -> int:
    """Of the whole schedule, over sets of images and of a GAN's samples."""
    return sum(samples if variant == GAN_VARIANT else images for variant in epochs_of(config.schedule))


@dataclass(frozen=True)
class EvaluationCosts:
    """What evaluate does: its configuration, the head and backbone, and the images it is timed on."""

    config: EvaluateConfig
    head: TrainHeadConfig
    featurize: FeaturizeConfig
    images: Array
    variants: int


def estimate_evaluate(costs: EvaluationCosts, heads: HeadCosts) -> Estimate:
    """Heads without each variant, attacks, corruptions, near duplicates, and the intervals of every report."""
    config = costs.config
    test = heads.rows.get("test", 0)
    probed = min(test, config.probe_images)
    reports = costs.variants + len(config.attacks) + len(config.corruptions) * len(config.severities)
    seconds = _ablation_seconds(costs, heads)
    if test:
        seconds += probed / PROBED * _robustness_seconds(costs, heads)
        random = np.random.default_rng(0).random((test, heads.classes), dtype=np.float32)
        rows = heads.features(test)
        guess = Predictions(
            random / random.sum(axis=1, keepdims=True), rows.labels, rows.ids, rows.classes, UNAUGMENTED
        )
        seconds += reports * timed(lambda: evaluate(guess, config.confidence), warm=False)
    held_out = test + heads.rows.get("val", 0)
    among = heads.features(HEAD_ROWS).features[:]
    queries = heads.features(256).features[:]
    per_pair = timed(lambda: nearest_rows(queries, among)) / (len(among) * len(queries))
    seconds += per_pair * held_out * heads.rows["train"]
    total = sum(heads.rows.values()) * costs.variants * heads.width * 2
    return Estimate(EVALUATE, test * costs.variants, 0, seconds, 0, total)


def _ablation_seconds(costs: EvaluationCosts, heads: HeadCosts) -> float:
    names = {phase.variant for phase in costs.head.schedule} | {UNAUGMENTED}
    count = min(8 * costs.head.batch, HEAD_ROWS, heads.rows["train"])
    train = {name: heads.features(count, name) for name in names}
    val = {UNAUGMENTED: heads.features(64, seed=1)} if heads.rows.get("val") else {}
    head = costs.head.model_copy(update={"gan_filter": 0.0})
    spent = timed(lambda: ablate_schedule(train, val, head, costs.config.worth_seeds), warm=False)
    return spent * heads.rows["train"] / count


def _robustness_seconds(costs: EvaluationCosts, heads: HeadCosts) -> float:
    """Of attacking and corrupting a few images."""
    backbone = make_backbone(*costs.featurize.backbone_arguments)
    rows = heads.features(256)
    classifier = HeadClassifier(_one_epoch(rows, costs.head), rows.classes, {})
    chosen = heads.features(PROBED)
    images = ImageSet(costs.images[:PROBED], chosen.labels, chosen.ids, chosen.classes, UNAUGMENTED)
    sample = RobustnessSample(compose(backbone, costs.featurize, classifier), images)
    config = costs.config
    spent = timed(lambda: list(sample.attacked(config.attacks)), warm=False) if config.attacks else 0.0
    if config.corruptions and config.severities:
        spent += timed(lambda: list(sample.corrupted(config.corruptions, config.severities)), warm=False)
    return spent


def _one_epoch(features: FeatureSet, config: TrainHeadConfig) -> Head:
    short = config.model_copy(update={"schedule": [Phase(UNAUGMENTED, 1)]})
    return fit_head({UNAUGMENTED: features}, {}, short).head
