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
from pipeline.config.featurize import FeaturizeConfig
from pipeline.features.backbone import Backbone, make_backbone
from pipeline.features.engines import Placement, make_engine
from pipeline.networks.resize import resized
from pipeline.runtime.devices import choose_device, device_kind
from pipeline.runtime.incremental import ComputePlan, compute_missing
from pipeline.runtime.threads import usable_threads
from pipeline.runtime.workers import Pool

CODE_VERSION = 2  # raise it whenever the same recipe gives other features


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
        libraries = ("torch", backbone.library, *(["onnxruntime"] if self.engine == "onnx" else []))
        return {
            "stage": "featurize",
            "code": CODE_VERSION,
            "backbone": backbone.name,
            "weights": backbone.weights_sha256,
            "mean": list(backbone.mean),
            "std": list(backbone.std),
            "size": config.size,
            "interpolation": config.interpolation,
            "engine": self.engine,
            "precision": config.precision,
            "dtype": config.dtype,
            "batch": config.batch,
            "device": device_kind(config.device),
            "libraries": {name: version(name) for name in libraries},
        }

    @property
    def engine(self) -> str:
        """The engine by its own name, where the configuration leaves it open."""
        config = self.config
        if config.engine != "auto":
            return config.engine
        on_cpu = choose_device(config.device).type == "cpu"
        return "onnx" if on_cpu and config.precision == "float32" else "eager"

    def __call__(self, images: Array, keys: Array) -> Array:
        network, batch = _network(self.config, self.engine), self.config.batch
        batches = [images[start : start + batch] for start in range(0, len(images), batch)]
        with one_thread_each(choose_device(self.config.device)) as threads:
            found = list(threads.map(network, batches))  # a GPU still computes them
        rows = np.concatenate(
            [one.float().cpu().numpy()[: len(each)] for one, each in zip(found, batches, strict=True)]
        )
        if not np.isfinite(rows).all():
            what, where = "the backbone gives NaN or infinite features", self.config.backbone
            raise InputError(what, where=where, remedy="Check its weights.")
        _check_range(rows, self.config)
        return rows.astype(self.config.dtype)


def _check_range(rows: Array, config: FeaturizeConfig) -> None:
    """Raise InputError for features that are beyond the type that they are kept in."""
    limit = float(np.finfo(config.dtype).max)
    largest = float(np.abs(rows).max(initial=0))
    if largest > limit:
        raise InputError(
            f"features are too large for {config.dtype}",
            where=config.backbone,
            expected=f"at most {limit:,.0f}",
            found=f"{largest:,.0f}",
            remedy="Set featurize.dtype=float32.",
        )


def featurize(
    images: ImageSet, featurizer: Featurizer, pool: Pool, advance: Callable[[int], object] = lambda count: None
) -> tuple[FeatureSet, int]:
    """The FeatureSet with lazy rows, and how many rows had to be computed."""
    config, recipe = featurizer.config, featurizer.recipe
    store = PartStore(store_folder() / "features", recipe)
    plan = ComputePlan(store, featurizer, config.rows_per_task, pool)
    rows, computed = compute_missing(images, images.keys(), plan, advance=advance)
    identity = (images.labels, images.ids, images.classes, images.variant)
    return FeatureSet(rows, *identity, backbone=config.backbone, recipe=recipe), computed


@cache
def _backbone(config: FeaturizeConfig) -> Backbone:
    return make_backbone(*config.backbone_arguments)


@cache
def _network(config: FeaturizeConfig, engine: str) -> Callable[[Array], Tensor]:
    """A function of up to one compute batch of images; short batches are padded, so the shape never changes."""
    device, backbone = choose_device(config.device), _backbone(config)
    mean, std = (torch.tensor(values, device=device).view(1, 3, 1, 1) * 255 for values in (backbone.mean, backbone.std))
    run = make_engine(engine, backbone.network, Placement(device, config.size, config.precision == "bfloat16"))
    layout = torch.contiguous_format if engine == "onnx" else torch.channels_last

    def features(images: Array) -> Tensor:
        padded = torch.zeros((config.batch, *images.shape[1:]), dtype=torch.uint8, pin_memory=device.type == "cuda")
        padded[: len(images)] = torch.from_numpy(images)
        channels_first = padded.to(device, non_blocking=True).permute(0, 3, 1, 2)
        pixels = channels_first.to(torch.float32, memory_format=layout)  # [k, 3, h, w]
        return run(resized(pixels, config.size, config.interpolation).sub_(mean).div_(std))

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
        with ThreadPoolExecutor(min(cores, usable_threads()) if device.type == "cpu" else 1) as threads:
            yield threads
    finally:
        torch.set_num_threads(cores)
