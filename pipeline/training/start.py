"""Where a training starts if not from random weights: a pretrained network, and the inputs that it wants."""

from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from cache.errors import ParamsError
from pipeline.config.recipe import Recipe
from pipeline.config.shared.featurize import LAST, FeaturizeConfig
from pipeline.features.backbone import make_backbone
from pipeline.networks.head import FineTuned, Head, fine_tuned


@dataclass(frozen=True)
class Start:
    """A network to go on from. mean, std: of its RGB inputs in 0..1. size: side of its inputs in pixels.

    description: plain values by which the network is built again when its weights are loaded.
    """

    network: nn.Module
    mean: tuple[float, ...]
    std: tuple[float, ...]
    size: int
    description: dict[str, Any] = field(default_factory=dict)


def started(start: Start, recipe: Recipe) -> nn.Module:
    """A copy of the network to go on from, its head's logits scaled as the recipe says.

    A trained head is surer of its training images than of others, and then hardly anything is left to learn from them
    (shrinking, as in Ash and Adams, NeurIPS 2020).
    """
    network = deepcopy(start.network)
    if isinstance(network, FineTuned) and recipe.head_scale != 1:
        with torch.no_grad():
            for parameter in network.head.layers[-1].parameters():
                parameter.mul_(recipe.head_scale)
    return network


def linear_head(backbone: nn.Module, classes: int, size: int) -> Head:
    """A head for a backbone's features of images of `size` pixels that finds every class equally likely."""
    with torch.no_grad():
        width = backbone.eval()(torch.zeros(1, 3, size, size)).shape[1]
    head = Head([width, classes], 0.0, 0.0)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.zero_()
    return head


def start_from_head(head: Head, config: FeaturizeConfig) -> Start:
    """featurize's backbone with a head over it that was trained on its features (LP-FT, Kumar et al., ICLR 2022).

    Raises ParamsError for features of more than the last layer.
    """
    if config.layers != LAST:
        what = "fine-tuning takes a head over the last layer"
        remedy = "Set featurize.layers to last."
        raise ParamsError(what, where="featurize.layers", expected=LAST, found=config.layers, remedy=remedy)
    backbone = make_backbone(*config.backbone_arguments)
    description = {"backbone": backbone.name, "size": config.size, "widths": head.widths}
    return Start(fine_tuned(backbone.network, head), backbone.mean, backbone.std, config.size, description)
