"""Every network that a recipe may name."""

import difflib
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import nn

from cache.errors import ParamsError
from pipeline.config.shared.networks import LibraryConfig, NetworkConfig
from pipeline.networks.attention_resnet import AttentionResNet
from pipeline.networks.resnet50 import make_resnet50
from pipeline.networks.resnetv2 import ResNetV2
from pipeline.networks.wide_resnet import WideResNet

NEAR = 5  # names that an unknown one is answered with
NETWORKS: dict[str, Callable[[Any, int], nn.Module]] = {
    "resnet50": make_resnet50,
    "resnetv2": ResNetV2,
    "attention_resnet": AttentionResNet,
    "wide_resnet": WideResNet,
}


def make_network(config: NetworkConfig, classes: int, limit: int | None = None) -> nn.Module:
    """The network, float32 on the CPU, initialised from torch's generator; normalised images to logits [n, c].

    Raises ParamsError for a name that its library does not know, and for more parameters than the limit.
    """
    library = isinstance(config, LibraryConfig)
    network = _from_library(cast(LibraryConfig, config), classes) if library else NETWORKS[config.name](config, classes)
    if getattr(config, "stem", "imagenet") == "small":
        _make_stem_small(network)
    count = count_parameters(network)
    if limit is not None and count > limit:
        raise ParamsError(
            "network has too many parameters",
            where=f"recipe network {config.name}",
            expected=f"at most {limit:,} (parameter_limit)",
            found=f"{count:,}",
            remedy="Make it narrower, or raise the limit.",
        )
    return network


def count_parameters(network: nn.Module) -> int:
    """How many numbers training moves."""
    return sum(parameter.numel() for parameter in network.parameters())


def _from_library(config: LibraryConfig, classes: int) -> nn.Module:
    library, _, name = config.model.partition(":")
    if library == "torchvision":
        from torchvision import models

        names = models.list_models(module=models)
        if name not in names:
            raise _unknown(config.model, names)
        return models.get_model(name, weights=None, num_classes=classes)  # type: ignore[no-any-return]
    import timm

    names = timm.list_models()
    if name not in names:
        raise _unknown(config.model, names)
    return timm.create_model(name, pretrained=False, num_classes=classes)


def _unknown(model: str, names: list[str]) -> ParamsError:
    """The error for a name that a library of more than a thousand does not have; it lists the nearest."""
    library, _, name = model.partition(":")
    near = ", ".join(f"{library}:{close}" for close in difflib.get_close_matches(name, names, n=NEAR, cutoff=0))
    expected = f"one of {len(names):,}, such as {near}"
    return ParamsError("unknown name", where="recipe network model", expected=expected, found=repr(model))


def _make_stem_small(network: nn.Module) -> None:
    """For images of 32 to 64 pixels: the first convolution 3x3 with stride 1, and the max-pool after it left out."""
    named = list(network.named_modules())
    name, first = next((name, module) for name, module in named if isinstance(module, nn.Conv2d))
    small = nn.Conv2d(3, first.out_channels, 3, padding=1, bias=first.bias is not None)
    with torch.no_grad():
        nn.init.kaiming_normal_(small.weight, mode="fan_out", nonlinearity="relu")
    _put(network, name, small)
    pools = [name for name, module in named if isinstance(module, nn.MaxPool2d) and not name.startswith("layer")]
    for name in pools[:1]:
        _put(network, name, nn.Identity())


def _put(network: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    setattr(network.get_submodule(parent), child, module)
