"""A head and its frozen backbone together."""

from torch import nn

from pipeline.config.shared.featurize import FeaturizeConfig
from pipeline.features.backbone import Backbone
from pipeline.inference.classifier import HeadClassifier
from pipeline.inference.pixel_classifier import PixelClassifier, on_device
from pipeline.runtime.devices import choose_device


def compose(backbone: Backbone, config: FeaturizeConfig, classifier: HeadClassifier | None = None) -> PixelClassifier:
    """The backbone with the head over it; without a head it gives features instead of logits."""
    device = choose_device(config.device)
    head = [classifier.head] if classifier else []
    return PixelClassifier(
        on_device(nn.Sequential(backbone.network, *head), device),
        backbone.mean,
        backbone.std,
        config.size,
        config.interpolation,
        classifier.temperature if classifier else 1.0,
        device,
    )
