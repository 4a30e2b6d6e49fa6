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
from pipeline.config.featurize import OFFICIAL, TIMM, check_names
from pipeline.features.weights import fetch_weights, official_kind
from pipeline.networks.efficientnet import CLASSIFIER, make_efficientnet
from pipeline.runtime.seeds import torch_seeded

Normalisation = tuple[tuple[float, ...], tuple[float, ...]]  # mean, std of RGB inputs in [0, 1]
IMAGENET: Normalisation = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
ADVPROP: Normalisation = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))  # 2x - 1
PREPROCESSING = {"imagenet": IMAGENET, "advprop": ADVPROP}
# What torch's loader raises for broken files, found by breaking twelve thousand.
MALFORMED = (RuntimeError, EOFError, OSError, ValueError, LookupError, TypeError, AttributeError, AssertionError)
RANDOM_SEED = 0  # of random weights, part of what "random" means


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
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        """Normalised images [k, 3, s, s] to features [k, d]."""
        maps: Tensor = self.network.extract_features(images)
        return maps.mean(dim=(2, 3))


def make_backbone(
    name: str, weights: str, size: int, preprocessing: str = "auto", weights_folder: str | None = None
) -> Backbone:
    """Build a backbone for inputs of `size` pixels; weights are `advprop`, `imagenet`, `random` or a path.

    Official weights that `weights_folder` lacks are downloaded. Raises ParamsError for names, InputError for weights.
    """
    check_names(name, weights, preprocessing)
    network, classifier, own = _make_timm(name, size) if name.startswith(TIMM) else _make_efficientnet(name, size)
    if weights == "random":
        _settle(network, size)
    else:
        path = fetch_weights(name, weights, weights_folder) if weights in OFFICIAL else Path(weights)
        _load(network, path, classifier)
    mean, std = _normalisation(weights, preprocessing, own)
    network.eval().requires_grad_(False)
    library = "timm" if name.startswith(TIMM) else "efficientnet-pytorch"
    return Backbone(name, network, mean, std, weights_digest(network), library)


# A network without its classifier, how the classifier's tensors begin, and its preprocessing where the network says it.
Made = tuple[nn.Module, tuple[str, ...], Normalisation | None]


def _make_efficientnet(name: str, size: int) -> Made:
    with torch_seeded(RANDOM_SEED, name):
        network = make_efficientnet(name, size)
    return PooledEfficientNet(network), (CLASSIFIER,), None


def _make_timm(backbone: str, size: int) -> Made:
    import timm

    name = backbone.removeprefix(TIMM)
    if not timm.is_model(name):
        near = difflib.get_close_matches(name.split(".", maxsplit=1)[0], timm.list_models(), n=5)
        hint = f"The nearest are {', '.join(near)}." if near else ""
        where = "params.yaml featurize.backbone"
        raise ParamsError("timm has no such model", where=where, found=repr(name), remedy=hint)
    with torch_seeded(RANDOM_SEED, name):
        network = timm.create_model(name, pretrained=False, num_classes=0)
    expected: Any = network.pretrained_cfg
    if expected.get("fixed_input_size") and size != expected["input_size"][-1]:
        what, only = f"{name} takes images of one size only", expected["input_size"][-1]
        raise ParamsError(what, where="params.yaml featurize.size", expected=only, found=size)
    named = expected.get("classifier") or "classifier"
    classifiers = (named,) if isinstance(named, str) else tuple(named)
    return network, tuple(f"{prefix}." for prefix in classifiers), _timm_normalisation(name)


def _timm_normalisation(name: str) -> Normalisation | None:
    """What a model's weights expect; None for a name without a tag whose published weights disagree."""
    import timm

    names = [name] if "." in name else [name, *timm.list_pretrained(f"{name}.*")]
    configs: list[Any] = [timm.get_pretrained_cfg(tagged) for tagged in names]
    found = {(tuple(config.mean), tuple(config.std)) for config in configs}
    return found.pop() if len(found) == 1 else None


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


def _load(network: nn.Module, path: Path, classifier: tuple[str, ...]) -> None:
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
    import struct

    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not path.is_file():
        remedy = "Give advprop, imagenet, random, or the path of a .safetensors or .pth file."
        raise InputError("no such weights", where="params.yaml featurize.weights", found=repr(str(path)), remedy=remedy)
    try:
        loaded = (
            load_file(path)
            if path.suffix == ".safetensors"
            else torch.load(path, map_location="cpu", weights_only=True)
        )
    except (SafetensorError, pickle.PickleError, struct.error, *MALFORMED) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(
            "weights cannot be read", where=path, found=reason, remedy="Convert them to safetensors."
        ) from error
    if not isinstance(loaded, dict) or not all(isinstance(value, Tensor) for value in loaded.values()):
        raise InputError("weights are not a flat mapping of names to tensors", where=path)
    return loaded


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
