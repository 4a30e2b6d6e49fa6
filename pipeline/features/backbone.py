"""Pretrained networks by name, their weights, and each one's own preprocessing.

Mixing up preprocessings is the best-known trap of efficientnet-pytorch: AdvProp weights want 2x-1, ImageNet weights
want mean and std. So a backbone carries its own, and if nobody can know it, the user is asked.
"""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from cache.errors import ParamsError
from pipeline.config.shared.featurize import LAST, LITE, OFFICIAL, PRETRAINED, TIMM, Layers, check_names
from pipeline.config.shared.timm_names import current_name
from pipeline.features.checkpoints import check_fit, read_weights, without_prefix
from pipeline.features.hub import fetch_pretrained
from pipeline.features.layers import Group, with_layers
from pipeline.features.timm_models import (
    Normalisation,
    converted,
    make_timm,
    timm_normalisation,
    without_classifier,
)
from pipeline.features.weights import fetch_weights, official_kind
from pipeline.networks.efficientnet import CLASSIFIER, lite_architecture, lite_tensors, make_efficientnet
from pipeline.runtime.seeds import torch_seeded

IMAGENET: Normalisation = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
ADVPROP: Normalisation = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))  # 2x - 1
PREPROCESSING = {"imagenet": IMAGENET, "advprop": ADVPROP}
RANDOM_SEED = 0  # of random weights, part of what "random" means


@dataclass(frozen=True)
class Backbone:
    """A frozen network from normalised float32 images [k, 3, s, s] to pooled features [k, d].

    mean, std: of RGB inputs in [0, 1]. weights_sha256: over names, types, shapes and bytes of all tensors, so the
    container and its path do not matter. tensors: by the names that files of this backbone use. groups: name and width
    of each layer whose features stand side by side; empty for those of the last layer alone. source: repository,
    revision and hash of weights from the hub; empty for any others.
    """

    name: str
    network: nn.Module
    mean: tuple[float, ...]
    std: tuple[float, ...]
    weights_sha256: str
    library: str
    tensors: dict[str, Tensor] = field(default_factory=dict, repr=False)
    groups: tuple[Group, ...] = ()
    source: dict[str, str] = field(default_factory=dict)


class PooledEfficientNet(nn.Module):
    """efficientnet-pytorch's convolutions and a global average, without its classifier."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        """Normalised images [k, 3, s, s] to features [k, d]."""
        maps: Tensor = self.network.extract_features(images)
        return maps.mean(dim=(2, 3))


def make_backbone(
    name: str,
    weights: str,
    size: int,
    preprocessing: str = "auto",
    weights_folder: str | None = None,
    layers: Layers = LAST,
) -> Backbone:
    """Build a backbone for inputs of `size` pixels.

    weights: `advprop`, `imagenet`, `pretrained`, `random` or a path. Official weights that `weights_folder` lacks are
    downloaded, `pretrained` ones go through the cache of huggingface_hub. layers: whose outputs are the features.
    Raises ParamsError for names, InputError for weights.
    """
    check_names(name, weights, preprocessing)
    library = "timm" if name.startswith(TIMM) or name in LITE else "efficientnet-pytorch"
    model = _timm_name(name) if library == "timm" else name
    network = make_timm(model, size, RANDOM_SEED) if library == "timm" else _make_efficientnet(name, size)
    source: dict[str, str] = {}
    if weights == "random":
        _settle(network, size)
    elif weights == PRETRAINED:
        file = fetch_pretrained(model)
        source = file.source
        _load(network, file.path, model)
    else:
        path = fetch_weights(name, weights, weights_folder) if weights in OFFICIAL else Path(weights)
        _load(network, path, model)
    own = timm_normalisation(model, pretrained=weights == PRETRAINED) if library == "timm" else None
    mean, std = _normalisation(weights, preprocessing, own)
    network.eval().requires_grad_(False)
    digest = weights_digest(network)
    tensors = dict(_target(network).state_dict())
    pooling, groups = with_layers(network, layers, size)
    shown = f"{TIMM}{model}" if name.startswith(TIMM) else name
    return Backbone(shown, pooling, mean, std, digest, library, tensors, groups, source)


def _timm_name(name: str) -> str:
    """timm's name of a backbone of its own or of an EfficientNet-Lite."""
    return lite_architecture(name) if name in LITE else current_name(name.removeprefix(TIMM))


def _make_efficientnet(name: str, size: int) -> nn.Module:
    with torch_seeded(RANDOM_SEED, name):
        return PooledEfficientNet(make_efficientnet(name, size))


def _target(network: nn.Module) -> nn.Module:
    """The network whose names files use."""
    return network.network if isinstance(network, PooledEfficientNet) else network


def _settle(network: nn.Module, size: int) -> None:
    """Give random weights batch statistics of seeded smooth noise; without them the features fade to zero."""
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the last bits of statistics depend on how many threads share a sum
    try:
        with torch_seeded(RANDOM_SEED, "noise"), torch.no_grad():
            noise = functional.interpolate(torch.randn(16, 3, 8, 8), size=(size, size), mode="bicubic")
            network.train()(noise)
    finally:
        torch.set_num_threads(threads)


def _load(network: nn.Module, path: Path, model: str) -> None:
    """Load every tensor of a file strictly, except the classifier's, which a backbone does not have.

    model: timm's name, or an EfficientNet's. A file of another wrapping, naming or image size is translated first.
    """
    target = _target(network)
    expected = target.state_dict()
    tensors = without_prefix(read_weights(path), expected, path)
    if isinstance(network, PooledEfficientNet):
        tensors = {key: value for key, value in tensors.items() if not key.startswith(CLASSIFIER)}
    else:
        tensors = without_classifier(lite_tensors(tensors, network), network, model)
        if any(key not in tensors or tensors[key].shape != value.shape for key, value in expected.items()):
            tensors = without_classifier(converted(tensors, network), network, model)
    check_fit(tensors, expected, path)
    target.load_state_dict(tensors, strict=False)


def _normalisation(weights: str, preprocessing: str, own: Normalisation | None) -> Normalisation:
    if preprocessing == "auto" and own is not None:
        return own
    if preprocessing == "auto":
        preprocessing = "imagenet" if weights == "random" else official_kind(Path(weights)) or weights
    if preprocessing in PREPROCESSING:
        return PREPROCESSING[preprocessing]
    raise ParamsError(
        "nobody can tell which preprocessing these weights expect",
        where="params.yaml featurize.preprocessing",
        expected="imagenet or advprop",
        found="auto",
        remedy="Wrong preprocessing costs accuracy without an error, so say which.",
    )


def weights_digest(network: nn.Module) -> str:
    """SHA-256 over all tensors of a network, 64 hexadecimal digits."""
    digest = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
