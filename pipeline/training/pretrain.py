"""Pretraining an EfficientNet by AdvProp (Xie et al., CVPR 2020): a recipe of the one trainer.

Every step sees a batch clean and attacked. The attacked one goes through the same convolutions but batch norms of its
own, because its statistics differ; those auxiliary norms are needed in training alone.
"""

from typing import Any

from safetensors.torch import save
from torch import nn

from pipeline.config.pretrain import PretrainConfig
from pipeline.config.recipe import Recipe, read_recipe
from pipeline.config.shared.stages import PRETRAIN
from pipeline.features.backbone import ADVPROP, Backbone
from pipeline.networks.efficientnet import CLASSIFIER, make_efficientnet
from pipeline.networks.head import FineTuned, fine_tuned
from pipeline.runtime.seeds import torch_seeded
from pipeline.training.start import Start, linear_head

RECIPE = PRETRAIN
NORM_MOMENTUM = 0.1  # the library's 0.01 needs hundreds of steps before its statistics hold


def pretrain_recipe(config: PretrainConfig) -> Recipe:
    """The recipe `pretrain` with the values of the section."""
    adversary = {"eps": config.attack_eps, "step": config.attack_step, "steps": config.attack_steps}
    values: dict[str, Any] = {
        "size": config.sizes,
        "schedule": [f"unaugmented x {config.epochs}"],
        "batch": config.batch,
        "lr": config.lr,
        "weight_decay": config.weight_decay,
        "label_smoothing": config.label_smoothing,
        "augmentation": {"crop_area": config.min_crop},
        "adversary": {**adversary, "norms": "separate"} if config.attack_steps else None,
        "precision": config.precision,
    }
    return read_recipe(RECIPE, values)


def pretrain_start(config: PretrainConfig, classes: int, init: Backbone | None) -> Start:
    """An EfficientNet of random weights and AdvProp's preprocessing; or `init`, a pretrained backbone, with its own."""
    size = config.sizes[-1]
    if init is not None:
        return Start(fine_tuned(init.network, linear_head(init.network, classes, size)), init.mean, init.std, size)
    with torch_seeded(PRETRAIN, config.seed):
        network = make_efficientnet(config.backbone, None, classes)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = NORM_MOMENTUM
    return Start(network, *ADVPROP, size)


def saved_network(network: nn.Module) -> bytes:
    """The whole network, float32, as safetensors."""
    return save({name: tensor.cpu().contiguous() for name, tensor in network.state_dict().items()})


def saved_backbone(network: nn.Module) -> bytes:
    """Convolutions and norms alone, float16, as safetensors, under the names that the backbone's library gives them."""
    inner: Any = network.backbone if isinstance(network, FineTuned) else network
    inner = getattr(inner, "network", inner)  # efficientnet-pytorch's, without the pooling around it
    kept = {name: tensor for name, tensor in inner.state_dict().items() if not name.startswith(CLASSIFIER)}
    return save({name: tensor.half().cpu().contiguous() for name, tensor in kept.items() if tensor.is_floating_point()})
