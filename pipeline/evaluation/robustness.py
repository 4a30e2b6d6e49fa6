"""Predictions for attacked and corrupted images, through a whole classifier."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from cache.errors import RecordError, StorageError
from cache.layout import Array
from cache.records import FeatureSet, ImageSet
from pipeline.config.evaluate import AttackConfig
from pipeline.config.shared.featurize import FeaturizeConfig
from pipeline.config.shared.stages import EVALUATE
from pipeline.evaluation.corruptions import corrupt
from pipeline.features.backbone import make_backbone
from pipeline.inference.classifier import HeadClassifier, ModelClassifier
from pipeline.inference.compose import compose
from pipeline.inference.pixel_classifier import PixelClassifier
from pipeline.metrics.predictions import Predictions
from pipeline.metrics.set_checks import check_same_rows
from pipeline.networks.adversarial import Attack, perturb
from pipeline.runtime.devices import reproducible_kernels, to_device
from pipeline.runtime.seeds import derived_seed, make_generator

BATCH = 64
CLEAN = "clean"
STEP = 2.5  # size of a step in units of eps / steps, as in Madry et al. (ICLR 2018)
AGREEMENT = 0.98  # least cosine of cached features, which may be of bfloat16, and features computed here


@dataclass(frozen=True)
class RobustnessSample:
    """Images drawn at random, and the classifier from pixels that predicts them."""

    predict: PixelClassifier
    images: ImageSet

    def attacked(self, attacks: Sequence[AttackConfig]) -> Iterator[Predictions]:
        """Predictions for the clean images and under each attack; their variant is `clean` or the attack's name."""
        for attack in [None, *attacks]:
            yield self._gather(CLEAN if attack is None else attack.name, self._worst(attack))

    def corrupted(self, names: Sequence[str], severities: Sequence[int]) -> Iterator[Predictions]:
        """Predictions for the clean images and under each corruption, whose variant is `<name>_<severity>`."""
        yield self._gather(CLEAN, self._worst(None))
        for name in names:
            for severity in severities:
                yield self._gather(f"{name}_{severity}", self._corrupted(name, severity))

    def _batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        for start in range(0, len(self.images), BATCH):
            labels = np.asarray(self.images.labels[start : start + BATCH], dtype=np.int64)
            device = self.predict.device
            yield (
                to_pixels(self.images.images[start : start + BATCH], device),
                to_device(torch.from_numpy(labels), device),
            )

    def _gather(self, variant: str, batches: Iterable[Tensor]) -> Predictions:
        images = self.images
        with reproducible_kernels():
            probabilities = torch.cat(list(batches)).cpu().numpy()
        return Predictions(probabilities, images.labels, images.ids, images.classes, variant)

    def _corrupted(self, name: str, severity: int) -> Iterator[Tensor]:
        generator = torch.Generator().manual_seed(derived_seed("corrupt", name, severity) % 2**63)
        for pixels, _ in self._batches():
            yield self.predict.probabilities(corrupt(pixels, name, severity, generator))

    def _worst(self, config: AttackConfig | None) -> Iterator[Tensor]:
        """Probabilities [k, c] of each image: from the first restart that fools the classifier, else from the last."""
        for number, (pixels, labels) in enumerate(self._batches()):
            probabilities = self.predict.probabilities(pixels)
            for attacked in [] if config is None else attack_restarts(self.predict, pixels, labels, config, number):
                right = probabilities.argmax(dim=1) == labels
                probabilities = torch.where(right[:, None], self.predict.probabilities(attacked), probabilities)
            yield probabilities


def attack_restarts(
    predict: PixelClassifier, images: Tensor, labels: Tensor, config: AttackConfig, number: int
) -> Iterator[Tensor]:
    """Attacked images [k, 3, h, w], once per restart. number: of the batch, which seeds its random starts."""
    step = config.eps if config.steps == 1 else STEP * config.eps / config.steps
    attack = Attack(config.eps, step, config.steps)
    for restart in range(config.restarts):
        seed = derived_seed("attack", config.name, number, restart)
        generator = torch.Generator(images.device).manual_seed(seed % 2**63)
        from_image = config.steps == 1 and restart == 0  # FGSM as in Goodfellow et al. (ICLR 2015)
        yield perturb(predict, images, labels, attack, None if from_image else generator)


def make_robustness_sample(pixels: PixelClassifier, images: ImageSet, count: int) -> RobustnessSample:
    """At most `count` of the images, drawn at random, with the classifier."""
    index = np.sort(make_generator(EVALUATE, "attack").permutation(len(images))[:count])
    return RobustnessSample(pixels, images.take(index))


def pixels_of(
    classifier: HeadClassifier | ModelClassifier,
    featurize: FeaturizeConfig,
    images: ImageSet,
    features: FeatureSet | None,
) -> PixelClassifier:
    """The classifier from pixels: a full model, or a head with its backbone. features: the cached ones of the images.

    Raises RecordError if the configured backbone does not give these features: attacks on another network than the
    evaluated one would be meaningless. Raises StorageError if a head's features are missing.
    """
    if isinstance(classifier, ModelClassifier):
        return classifier.pixels
    if features is None:
        raise StorageError("there are no features of the unaugmented images", where="test", remedy="Run featurize.")
    what = "images and features are of different rows"
    check_same_rows(images, features, what, where="test", remedy="Run featurize again.")
    backbone = make_backbone(*featurize.backbone_arguments)
    _check_features(compose(backbone, featurize), images.images[:BATCH], features.features[:BATCH])
    return compose(backbone, featurize, classifier)


def to_pixels(images: Array, device: torch.device) -> Tensor:
    """uint8 [k, h, w, 3] to float [k, 3, h, w] in 0..255 on the device."""
    return to_device(torch.from_numpy(images), device).permute(0, 3, 1, 2).float()


def _check_features(backbone: PixelClassifier, images: Array, cached: Array) -> None:
    with torch.no_grad():
        computed = backbone(to_pixels(images, backbone.device)).cpu()
    expected = torch.from_numpy(cached).float()
    same_shape = computed.shape == expected.shape
    agreement = float(functional.cosine_similarity(computed, expected).min()) if same_shape else 0.0
    if agreement < AGREEMENT:
        raise RecordError(
            "the backbone does not give the cached features",
            where="params.yaml featurize",
            expected=f"a cosine of at least {AGREEMENT}",
            found=f"{agreement:.4f}",
            remedy="Run featurize again.",
        )
