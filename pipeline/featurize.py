"""Pooled features of a frozen backbone for the rows of an ImageSet, through the part store."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cache.errors import InputError
from cache.layout import Array
from cache.parts import PartStore, store_folder
from cache.records import FeatureSet, ImageSet
from pipeline.backbone import Backbone, make_backbone
from pipeline.config.featurize import FeaturizeConfig
from pipeline.derive import Derivation, derive
from pipeline.devices import choose_device, device_kind
from pipeline.resizing import resized
from pipeline.workers import Pool

CODE_VERSION = 2  # raise it whenever the same recipe gives other features
COMPILE_OPTIONS: dict[str, Any] = {"freezing": True}


@dataclass(frozen=True)
class Featurizer:
    """uint8 images [k, h, w, 3] to features [k, d]. Can be pickled: each process builds its network once."""

    config: FeaturizeConfig

    @property
    def backbone(self) -> Backbone:
        """The network with its preprocessing."""
        return _backbone(self.config)

    @property
    def recipe(self) -> dict[str, Any]:
        """Everything but the pixels that decides the bytes of a feature row."""
        config, backbone = self.config, self.backbone
        return {
            "stage": "featurize",
            "code": CODE_VERSION,
            "backbone": backbone.name,
            "weights": backbone.weights_sha256,
            "mean": list(backbone.mean),
            "std": list(backbone.std),
            "size": config.size,
            "interpolation": config.interpolation,
            "engine": config.engine,
            "precision": config.precision,
            "dtype": config.dtype,
            "batch": config.batch,
            "device": device_kind(config.device),
            "libraries": {name: version(name) for name in ("torch", backbone.library)},
        }

    def __call__(self, images: Array, keys: Array) -> Array:
        network, batch = _network(self.config), self.config.batch
        batches = [images[start : start + batch] for start in range(0, len(images), batch)]
        with one_thread_each(choose_device(self.config.device)) as threads:
            rows = list(threads.map(network, batches))
        return np.concatenate(rows).astype(self.config.dtype)


def featurize(
    images: ImageSet, featurizer: Featurizer, pool: Pool, advance: Callable[[int], object] = lambda count: None
) -> tuple[FeatureSet, int]:
    """The FeatureSet with lazy rows, and how many rows had to be computed."""
    config, recipe = featurizer.config, featurizer.recipe
    store = PartStore(store_folder() / "features", recipe)
    derivation = Derivation(store, featurizer, config.rows_per_task, pool)
    rows, computed = derive(images, images.keys(), derivation, advance=advance)
    identity = (images.labels, images.ids, images.classes, images.variant)
    return FeatureSet(rows, *identity, backbone=config.backbone, recipe=recipe), computed


@cache
def _backbone(config: FeaturizeConfig) -> Backbone:
    return make_backbone(*config.backbone_arguments)


@cache
def _network(config: FeaturizeConfig) -> Callable[[Array], Array]:
    """A function of up to one compute batch of images; short batches are padded, so the shape never changes."""
    device, backbone = choose_device(config.device), _backbone(config)
    mean, std = (torch.tensor(values, device=device).view(1, 3, 1, 1) * 255 for values in (backbone.mean, backbone.std))
    run: Callable[[Tensor], Tensor] = backbone.network.to(device).to(memory_format=torch.channels_last)
    if config.engine == "compile":
        run = torch.compile(backbone.network, options=COMPILE_OPTIONS)
    half = config.precision == "bfloat16"

    def features(images: Array) -> Array:
        padded = torch.zeros((config.batch, *images.shape[1:]), dtype=torch.uint8)
        padded[: len(images)] = torch.from_numpy(images)
        pixels = padded.to(device).permute(0, 3, 1, 2).to(torch.float32)  # [k, 3, h, w], channels last
        inputs = (resized(pixels, config.size, config.interpolation) - mean) / std
        with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=half):
            found = run(inputs.contiguous(memory_format=torch.channels_last)).float().cpu().numpy()
        if not np.isfinite(found[: len(images)]).all():
            raise InputError(
                "the backbone gives NaN or infinite features", where=config.backbone, remedy="Check its weights."
            )
        return np.asarray(found[: len(images)])

    return features


@contextmanager
def one_thread_each(device: torch.device) -> Iterator[ThreadPoolExecutor]:
    """Threads to compute batches side by side, each batch by one thread alone.

    torch's kernels share a batch among threads and treat the ends of shares with other code, so with their own threads
    the last bits of a row would depend on how many cores there are. Side by side is also the faster way on a CPU.
    """
    cores = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(cores if device.type == "cpu" else 1) as threads:
            yield threads
    finally:
        torch.set_num_threads(cores)
