"""ResNet-50 as report 000 varies it: activation, norm and SPP blocks, over torchvision's network."""

from typing import Any

from torch import nn
from torchvision.models import resnet50
from torchvision.models.resnet import Bottleneck

from pipeline.config.shared.networks import ResNet50Config
from pipeline.networks.blocks import ACTIVATIONS, NORMS, SpatialPyramid


def make_resnet50(config: ResNet50Config, classes: int) -> nn.Module:
    """Random weights by torchvision's rule. A trainable Swish has one beta a bottleneck."""
    network: Any = resnet50(num_classes=classes, norm_layer=NORMS[config.norm])
    for module in network.modules():
        if isinstance(module, Bottleneck):
            module.relu = ACTIVATIONS[config.activation]()
    network.relu = ACTIVATIONS[config.activation]()
    if config.spp:
        for name in ("layer1", "layer2", "layer3"):
            stack = getattr(network, name)
            setattr(network, name, nn.Sequential(*stack, SpatialPyramid(stack[-1].conv3.out_channels)))
    return network  # type: ignore[no-any-return]
