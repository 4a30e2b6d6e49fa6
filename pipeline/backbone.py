"""Pretrained networks by name, their weights, and each one's own preprocessing.

Mixing up preprocessings is the best-known trap of efficientnet-pytorch: AdvProp weights want 2x-1, ImageNet weights
want mean and std. So a backbone carries its own, and where nobody can know it the user is asked.
"""

import difflib
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from cache.errors import InputError, ParamsError
from pipeline.params import unknown_name
from pipeline.seeds import torch_seeded

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))  # mean, std of inputs in [0, 1]
ADVPROP = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))  # 2x - 1
PREPROCESSING = {"imagenet": IMAGENET, "advprop": ADVPROP}
EFFICIENTNETS = tuple(f"efficientnet-b{scale}" for scale in range(9))
MINI = "efficientnet-mini"
RANDOM_SEED = 0  # of random weights, part of what "random" means
TIMM = "timm:"


@dataclass(frozen=True)
class Backbone:
    """A frozen network from normalised float32 images [k, 3, s, s] to pooled features [k, d].

    mean, std: of RGB inputs in [0, 1]. weights_sha256: over names, types, shapes and bytes of all tensors, so the
    container and its path do not matter.
    """

    name: str
    network: nn.Module
    mean: tuple[float, ...]
    std: tuple[float, ...]
    weights_sha256: str
    library: str


class PooledEfficientNet(nn.Module):
    """efficientnet-pytorch's convolutions and a global average, without its classifier."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        network.set_swish(memory_efficient=False)  # the plain one can be traced, compiled and exported
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        """Normalised images [k, 3, s, s] to features [k, d]."""
        maps: Tensor = self.network.extract_features(images)
        return maps.mean(dim=(2, 3))


def make_backbone(name: str, weights: str, size: int, preprocessing: str = "auto") -> Backbone:
    """Build a backbone for inputs of `size` pixels. Raises ParamsError for names, InputError for weights."""
    if name.startswith(TIMM):
        network, normalisation, prefix = _make_timm(name.removeprefix(TIMM), weights)
        library = "timm"
    else:
        network, prefix = _make_efficientnet(name, weights, size), "_fc."
        normalisation, library = None, "efficientnet-pytorch"
    if weights == "random":
        _settle(network, size)
    else:
        _load(network, Path(weights), prefix)
    mean, std = _normalisation(weights, preprocessing, normalisation)
    network.eval().requires_grad_(False)
    return Backbone(name, network, mean, std, weights_digest(network), library)


def _make_efficientnet(name: str, weights: str, size: int) -> nn.Module:
    if name != MINI and name not in EFFICIENTNETS:
        raise unknown_name("params.yaml featurize.backbone", name, [MINI, *EFFICIENTNETS, "timm:<name>"])
    from efficientnet_pytorch import EfficientNet
    from efficientnet_pytorch.utils import efficientnet

    with torch_seeded(RANDOM_SEED, name):
        if name == MINI:
            blocks, options = efficientnet(
                width_coefficient=0.5, depth_coefficient=0.5, image_size=size, include_top=False
            )
            return PooledEfficientNet(EfficientNet(blocks, options))
        return PooledEfficientNet(EfficientNet.from_name(name, image_size=size, include_top=False))


def _make_timm(name: str, weights: str) -> tuple[nn.Module, tuple[Any, Any], str]:
    import timm

    known = timm.list_models()
    if not timm.is_model(name):
        near = difflib.get_close_matches(name.split(".", maxsplit=1)[0], known, n=5)
        hint = f"The nearest are {', '.join(near)}." if near else ""
        raise ParamsError(
            "timm has no such model", where="params.yaml featurize.backbone", found=repr(name), remedy=hint
        )
    with torch_seeded(RANDOM_SEED, name):
        network = timm.create_model(name, pretrained=False, num_classes=0)
    expected: Any = network.pretrained_cfg
    prefix = expected.get("classifier") or "classifier"
    return network, (tuple(expected["mean"]), tuple(expected["std"])), f"{prefix}."


def _settle(network: nn.Module, size: int) -> None:
    """Give random weights batch statistics of seeded smooth noise; without them the features fade to zero."""
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0
    with torch_seeded(RANDOM_SEED, "noise"), torch.no_grad():
        noise = functional.interpolate(torch.randn(16, 3, 8, 8), size=(size, size), mode="bicubic")
        network.train()(noise)


def _load(network: nn.Module, path: Path, classifier: str) -> None:
    """Load every tensor strictly, but for the classifier's, which a backbone does not have."""
    tensors = {key: value for key, value in read_weights(path).items() if not key.startswith(classifier)}
    target: Any = network.network if isinstance(network, PooledEfficientNet) else network
    expected = target.state_dict()
    lacking, foreign = sorted(set(expected) - set(tensors)), sorted(set(tensors) - set(expected))
    lacking = [key for key in lacking if not key.endswith("num_batches_tracked")]
    wrong = [key for key in expected if key in tensors and expected[key].shape != tensors[key].shape]
    if lacking or foreign or wrong:
        found = f"{len(lacking)} missing, {len(foreign)} unknown, {len(wrong)} of another shape"
        first = (lacking + foreign + wrong)[0]
        raise InputError(
            "weights do not fit the backbone", where=path, expected="every tensor", found=f"{found}, such as {first}"
        )
    target.load_state_dict(tensors, strict=False)


def read_weights(path: Path) -> dict[str, Tensor]:
    """Tensors by name from .safetensors or a pickle-free .pth. Raises InputError; runs no code from the file."""
    import pickle

    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not path.is_file():
        remedy = "Give `random` or the path of a .safetensors or .pth file."
        raise InputError("no such weights", where="params.yaml featurize.weights", found=repr(str(path)), remedy=remedy)
    try:
        loaded = (
            load_file(path)
            if path.suffix == ".safetensors"
            else torch.load(path, map_location="cpu", weights_only=True)
        )
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(
            "weights cannot be read", where=path, found=reason, remedy="Convert them to safetensors."
        ) from error
    if not isinstance(loaded, dict) or not all(isinstance(value, Tensor) for value in loaded.values()):
        raise InputError("weights are not a flat mapping of names to tensors", where=path)
    return loaded


def _normalisation(weights: str, preprocessing: str, own: tuple[Any, Any] | None) -> tuple[Any, Any]:
    if preprocessing != "auto":
        return PREPROCESSING[preprocessing]
    if own is not None:
        return own
    if weights == "random":
        return IMAGENET
    official = Path(weights).name
    if official.startswith("adv-efficientnet-"):
        return ADVPROP
    if official.startswith("efficientnet-b"):
        return IMAGENET
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
