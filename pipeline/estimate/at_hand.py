"""Backbones whose weights lie on this disk, and what computes here. Sends no request."""

from collections.abc import Iterator
from dataclasses import dataclass

from cache.errors import AugcacheError
from pipeline.config.shared.featurize import EFFICIENTNETS, LITE, OFFICIAL, PRETRAINED, TIMM, input_size

HUB_OWNER = "timm/"


@dataclass(frozen=True)
class BackboneAtHand:
    """A backbone, its weights, the size of their file in bytes, and the side in pixels that they were trained on."""

    name: str
    weights: str
    bytes: int
    size: int


@dataclass(frozen=True)
class Machine:
    """What computes here: the name of a GPU (empty without one), usable threads, and backbones on the disk."""

    gpu: str
    threads: int
    backbones: tuple[BackboneAtHand, ...]


def this_machine(weights_folder: str | None) -> Machine:
    """weights_folder: of official files, as featurize.weights_folder has it."""
    import torch

    from pipeline.runtime.threads import usable_threads

    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else ""
    return Machine(gpu, usable_threads(), tuple(backbones_at_hand(weights_folder)))


def backbones_at_hand(weights_folder: str | None) -> Iterator[BackboneAtHand]:
    """EfficientNet-Lites whose packages are installed, official files, and timm's from the hub's cache."""
    yield from _lites()
    yield from _official(weights_folder)
    yield from _from_the_hub()


def _lites() -> Iterator[BackboneAtHand]:
    from pipeline.features.weights import packaged_weights

    for name in LITE:
        try:
            path = packaged_weights(name)
        except AugcacheError:
            continue
        yield BackboneAtHand(name, "imagenet", path.stat().st_size, input_size(name, "imagenet"))


def _official(weights_folder: str | None) -> Iterator[BackboneAtHand]:
    from pipeline.features import weights

    for name in EFFICIENTNETS:
        for kind in OFFICIAL:
            try:
                url = weights.official_url(name, kind)
            except AugcacheError:  # was never published
                continue
            path = weights.weights_folder(weights_folder) / url.rpartition("/")[2]
            if path.is_file():
                yield BackboneAtHand(name, kind, path.stat().st_size, input_size(name, kind))


def _from_the_hub() -> Iterator[BackboneAtHand]:
    from huggingface_hub import scan_cache_dir
    from huggingface_hub.errors import CacheNotFound

    try:
        repositories = sorted(repository.repo_id for repository in scan_cache_dir().repos)
    except CacheNotFound:
        return
    for repository in repositories:
        if repository.startswith(HUB_OWNER):
            yield from _timm(repository.removeprefix(HUB_OWNER))


def _timm(name: str) -> Iterator[BackboneAtHand]:
    from pipeline.features.hub import cached_pretrained

    try:
        path = cached_pretrained(name)
        if path is not None:
            size = input_size(f"{TIMM}{name}", PRETRAINED)
            yield BackboneAtHand(f"{TIMM}{name}", PRETRAINED, path.stat().st_size, size)
    except AugcacheError:  # a repository that is no network of timm
        return
