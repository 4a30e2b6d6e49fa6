"""Predictions under attack: white box, through the frozen backbone and the head together."""

from collections.abc import Iterator

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
from pipeline.config.evaluate import AttackConfig, EvaluateConfig
from pipeline.config.featurize import FeaturizeConfig
from pipeline.devices import choose_device
from pipeline.featurize import resized
from pipeline.predictions import Predictions
from pipeline.seeds import derived_seed, make_generator

BATCH = 64
CLEAN = "clean"
STEP = 2.5  # of eps over steps, as Madry et al. (ICLR 2018) have it
AGREEMENT = 0.98  # least cosine between cached features, perhaps of bfloat16, and those computed here


class PixelClassifier:
    """Images uint8 or float [k, 3, h, w] in 0..255 to logits [k, c], differentiable from end to end."""

    def __init__(self, backbone: Backbone, config: FeaturizeConfig, classifier: HeadClassifier) -> None:
        self.device = choose_device(config.device)
        self.network = backbone.network.to(self.device).to(memory_format=torch.channels_last)
        self.head = classifier.head.to(self.device)
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
        return logits


def attack_all(
    classifier: HeadClassifier,
    images: ImageSet,
    features: FeatureSet,
    config: EvaluateConfig,
    featurize: FeaturizeConfig,
) -> Iterator[Predictions]:
    """Predictions for the same images clean and under each attack; the attack's name is their variant.

    features: the cached ones of all images. Raises RecordError where the configured backbone does not give them.
    """
    if not np.array_equal(images.ids, features.ids):
        raise RecordError("images and features are of different rows", where="test", remedy="Run featurize again.")
    order = make_generator("evaluate", "attack").permutation(len(images))
    index = np.sort(order[: config.attack_images])
    chosen = images.take(index)
    predict = PixelClassifier(make_backbone(*featurize.backbone_arguments), featurize, classifier)
    pixels = torch.from_numpy(chosen.images[:]).permute(0, 3, 1, 2).float().to(predict.device)  # [n, 3, h, w]
    labels = torch.from_numpy(np.asarray(chosen.labels, dtype=np.int64)).to(predict.device)
    batches = list(zip(pixels.split(BATCH), labels.split(BATCH), strict=True))
    _check_features(predict, pixels, features.features[index])
    for attack in [None, *config.attacks]:
        found = torch.cat([_worst(predict, *batch, attack, number) for number, batch in enumerate(batches)])
        name = CLEAN if attack is None else attack.name
        yield Predictions(found.cpu().numpy(), chosen.labels, chosen.ids, chosen.classes, name)


def _worst(
    predict: PixelClassifier, images: Tensor, labels: Tensor, config: AttackConfig | None, number: int
) -> Tensor:
    """Probabilities [k, c]: of each image those of the first try that fools the classifier, else of the last."""
    found = _probabilities(predict, images)
    if config is None:
        return found
    step = config.eps if config.steps == 1 else STEP * config.eps / config.steps
    attack = Attack(config.eps, step, config.steps)
    for restart in range(config.restarts):
        seed = derived_seed("attack", config.name, number, restart)
        generator = torch.Generator(images.device).manual_seed(seed % 2**63)
        from_image = config.steps == 1 and restart == 0  # FGSM as Goodfellow et al. (ICLR 2015) have it
        moved = perturb(predict, images, labels, attack, None if from_image else generator)
        holds = found.argmax(dim=1) == labels
        found = torch.where(holds[:, None], _probabilities(predict, moved), found)
    return found


def _probabilities(predict: PixelClassifier, images: Tensor) -> Tensor:
    with torch.no_grad():
        return torch.softmax(predict(images).double(), dim=1).float()


def _check_features(predict: PixelClassifier, pixels: Tensor, cached: Array) -> None:
    """An attack through another network than the judged one would say nothing."""
    with torch.no_grad():
        found = torch.cat([predict.features(batch) for batch in pixels.split(BATCH)]).cpu()
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
