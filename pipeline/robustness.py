"""Predictions for attacked and corrupted images, through the frozen backbone and the head together."""

from collections.abc import Iterable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from cache.errors import RecordError
from cache.layout import Array
from cache.records import FeatureSet, ImageSet
from pipeline.attack import Attack, perturb
from pipeline.backbone import Backbone, make_backbone
from pipeline.classifier import HeadClassifier
from pipeline.config.evaluate import AttackConfig
from pipeline.config.featurize import FeaturizeConfig
from pipeline.corruptions import corrupt
from pipeline.devices import choose_device
from pipeline.featurize import resized
from pipeline.predictions import Predictions
from pipeline.seeds import derived_seed, make_generator

BATCH = 64
CLEAN = "clean"
STEP = 2.5  # of eps over steps, as Madry et al. (ICLR 2018) have it
AGREEMENT = 0.98  # least cosine between cached features, perhaps of bfloat16, and those computed here


class PixelClassifier:
    """Images uint8 or float [k, 3, h, w] in 0..255 to logits [k, c], divided by the temperature; differentiable."""

    def __init__(self, backbone: Backbone, config: FeaturizeConfig, classifier: HeadClassifier) -> None:
        self.device = choose_device(config.device)
        self.network = backbone.network.to(self.device).to(memory_format=torch.channels_last)
        self.head = deepcopy(classifier.head).to(self.device)  # the classifier's own stays where features are
        self.temperature = classifier.temperature
        self.config = config
        values = (backbone.mean, backbone.std)
        self.mean, self.std = (torch.tensor(each, device=self.device).view(1, 3, 1, 1) * 255 for each in values)

    def features(self, pixels: Tensor) -> Tensor:
        """Pooled features [k, d], always eager and float32."""
        inputs = (resized(pixels, self.config.size, self.config.interpolation) - self.mean) / self.std
        found: Tensor = self.network(inputs.contiguous(memory_format=torch.channels_last))
        return found

    def __call__(self, pixels: Tensor) -> Tensor:
        logits: Tensor = self.head(self.features(pixels))
        return logits / self.temperature

    def probabilities(self, pixels: Tensor) -> Tensor:
        """[k, c], without gradients."""
        with torch.no_grad():
            return torch.softmax(self(pixels).double(), dim=1).float()


@dataclass(frozen=True)
class Probe:
    """Images drawn at random, and the whole classifier that looks at them."""

    predict: PixelClassifier
    images: ImageSet

    def attacked(self, attacks: Sequence[AttackConfig]) -> Iterator[Predictions]:
        """Predictions for the images clean and under each attack; the attack's name is their variant."""
        for attack in [None, *attacks]:
            yield self._gather(CLEAN if attack is None else attack.name, self._worst(attack))

    def corrupted(self, names: Sequence[str], severities: Sequence[int]) -> Iterator[Predictions]:
        """Predictions for the images clean and under each corruption, `<corruption>_<severity>`."""
        yield self._gather(CLEAN, self._worst(None))
        for name in names:
            for severity in severities:
                yield self._gather(f"{name}_{severity}", self._corrupted(name, severity))

    def _batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        for start in range(0, len(self.images), BATCH):
            labels = np.asarray(self.images.labels[start : start + BATCH], dtype=np.int64)
            pixels = to_pixels(self.images.images[start : start + BATCH])
            yield pixels.to(self.predict.device), torch.from_numpy(labels).to(self.predict.device)

    def _gather(self, variant: str, batches: Iterable[Tensor]) -> Predictions:
        images = self.images
        return Predictions(torch.cat(list(batches)).cpu().numpy(), images.labels, images.ids, images.classes, variant)

    def _corrupted(self, name: str, severity: int) -> Iterator[Tensor]:
        generator = torch.Generator().manual_seed(derived_seed("corrupt", name, severity) % 2**63)
        for pixels, _ in self._batches():
            yield self.predict.probabilities(corrupt(pixels, name, severity, generator))

    def _worst(self, config: AttackConfig | None) -> Iterator[Tensor]:
        """Probabilities [k, c]: of each image those of the first try that fools the classifier, else of the last."""
        for number, (pixels, labels) in enumerate(self._batches()):
            found = self.predict.probabilities(pixels)
            for moved in [] if config is None else tries(self.predict, pixels, labels, config, number):
                holds = found.argmax(dim=1) == labels
                found = torch.where(holds[:, None], self.predict.probabilities(moved), found)
            yield found


def tries(
    predict: PixelClassifier, images: Tensor, labels: Tensor, config: AttackConfig, number: int
) -> Iterator[Tensor]:
    """Images [k, 3, h, w] moved by the attack, once a restart; number: of the batch, for its own random starts."""
    step = config.eps if config.steps == 1 else STEP * config.eps / config.steps
    attack = Attack(config.eps, step, config.steps)
    for restart in range(config.restarts):
        seed = derived_seed("attack", config.name, number, restart)
        generator = torch.Generator(images.device).manual_seed(seed % 2**63)
        from_image = config.steps == 1 and restart == 0  # FGSM as Goodfellow et al. (ICLR 2015) have it
        yield perturb(predict, images, labels, attack, None if from_image else generator)


def make_probe(
    classifier: HeadClassifier, images: ImageSet, features: FeatureSet, count: int, featurize: FeaturizeConfig
) -> Probe:
    """At most `count` of the images, drawn at random, before the classifier.

    features: the cached ones of all images. Raises RecordError where the configured backbone does not give them.
    """
    if not np.array_equal(images.ids, features.ids):
        raise RecordError("images and features are of different rows", where="test", remedy="Run featurize again.")
    index = np.sort(make_generator("evaluate", "attack").permutation(len(images))[:count])
    predict = PixelClassifier(make_backbone(*featurize.backbone_arguments), featurize, classifier)
    _check_features(predict, images.images[index[:BATCH]], features.features[index[:BATCH]])
    return Probe(predict, images.take(index))


def to_pixels(images: Array) -> Tensor:
    """uint8 [k, h, w, 3] to float [k, 3, h, w] in 0..255."""
    return torch.from_numpy(images).permute(0, 3, 1, 2).float()


def _check_features(predict: PixelClassifier, images: Array, cached: Array) -> None:
    """An attack through another network than the judged one would say nothing."""
    with torch.no_grad():
        found = predict.features(to_pixels(images).to(predict.device)).cpu()
    expected = torch.from_numpy(cached).float()
    agreement = float(functional.cosine_similarity(found, expected).min()) if found.shape == expected.shape else 0.0
    if agreement < AGREEMENT:
        raise RecordError(
            "the backbone does not give the cached features",
            where="params.yaml featurize",
            expected=f"a cosine of at least {AGREEMENT}",
            found=f"{agreement:.4f}",
            remedy="Run featurize again.",
        )
