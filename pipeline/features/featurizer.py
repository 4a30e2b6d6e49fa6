"""Pooled features of a frozen backbone for the rows of an ImageSet, through the part store."""

import json
import threading
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cache.errors import AugcacheError, InputError
from cache.files import write_text
from cache.layout import Array, recipe_key
from cache.parts import PartStore, store_folder
from cache.records import FeatureSet, ImageSet
from pipeline.config.shared.featurize import FeaturizeConfig
from pipeline.config.shared.section import AUTO
from pipeline.config.shared.stages import FEATURIZE
from pipeline.features.backbone import Backbone, make_backbone
from pipeline.features.engines import Placement, make_engine
from pipeline.features.exports import REMEDY
from pipeline.networks.resize import resized
from pipeline.runtime.devices import choose_device, device_kind
from pipeline.runtime.incremental import ComputePlan, compute_missing
from pipeline.runtime.set_file import SetFile
from pipeline.runtime.threads import usable_threads
from pipeline.runtime.workers import Pool

CODE_VERSION = 2  # raise it whenever the same recipe gives other features


@dataclass(frozen=True)
class EngineChoice:
    """Which engine computes. reason: why `auto` does not take the faster one; empty otherwise."""

    engine: str
    reason: str = ""


@dataclass(frozen=True)
class Featurizer:
    """uint8 images [k, h, w, 3] to features [k, d]. Can be pickled: each process builds its network once."""

    config: FeaturizeConfig

    @property
    def backbone(self) -> Backbone:
        """The network with its preprocessing."""
        return _backbone(*self.config.backbone_arguments)

    @property
    def recipe(self) -> dict[str, Any]:
        """Everything but the pixels that decides the bytes of a feature row.

        groups: name and width of each layer's features, in order, if they are not those of the last layer alone.
        """
        return _recipe(self.config, self.engine)

    @property
    def engine(self) -> str:
        """The engine by its own name, also if the configuration leaves it open."""
        return self.choice.engine

    @property
    def choice(self) -> EngineChoice:
        """The engine, and why `auto` does not take the faster one."""
        config = self.config
        if config.engine != AUTO:
            return EngineChoice(config.engine)
        on_cpu = choose_device(config.device).type == "cpu"
        return _choose_engine(config) if on_cpu and config.precision == "float32" else EngineChoice("eager")

    @property
    def resolved(self) -> "Featurizer":
        """The same featurizer with its engine decided, for other processes."""
        return replace(self, config=_with_engine(self.config, self.engine))

    def __call__(self, images: Array, keys: Array) -> Array:
        network = _network(_with_engine(self.config, self.engine))
        batch = self.config.batch
        batches = [images[start : start + batch] for start in range(0, len(images), batch)]
        with batches_at_once(choose_device(self.config.device)) as compute:
            outputs = list(compute(network, batches))  # a GPU still computes them
        features = [output.float().cpu().numpy()[: len(block)] for output, block in zip(outputs, batches, strict=True)]
        return self._stored(np.concatenate(features))

    def _stored(self, rows: Array) -> Array:
        """The rows in the type that is stored. Raises InputError for values that it cannot hold."""
        if not np.isfinite(rows).all():
            what = "the backbone gives NaN or infinite features"
            raise InputError(what, where=self.config.backbone, remedy="Check its weights.")
        largest = np.finfo(self.config.dtype).max
        if len(rows) and np.abs(rows).max() > largest:
            what = f"features are too large for {self.config.dtype}"
            remedy = "Set featurize.dtype=float32."
            actual = f"{np.abs(rows).max():,.0f}"
            raise InputError(
                what, where=self.config.backbone, expected=f"at most {largest:,.0f}", found=actual, remedy=remedy
            )
        return rows.astype(self.config.dtype)


def featurize(
    images: ImageSet,
    featurizer: Featurizer,
    pool: Pool,
    advance: Callable[[int], object] = lambda count: None,
    store: PartStore | None = None,
    output: Path | None = None,
) -> tuple[FeatureSet, int]:
    """The FeatureSet with lazy rows, and how many rows had to be computed.

    store: of `feature_store`; for several sets the same one, so that each of its parts is opened once.
    output: the file that the set is for, if any; rows of a large one are laid out in part files beside it.
    """
    recipe = featurizer.recipe
    plan = ComputePlan(
        store or feature_store(featurizer),
        featurizer.resolved,
        featurizer.config.rows_per_task,
        pool,
        SetFile(output, "features") if output else None,
    )
    rows, computed = compute_missing(images, images.keys(), plan, advance=advance)
    identity = (images.labels, images.ids, images.classes, images.variant)
    return FeatureSet(rows, *identity, backbone=featurizer.config.backbone, recipe=recipe), computed


def feature_store(featurizer: Featurizer) -> PartStore:
    """Where the rows of a featurizer are kept."""
    return PartStore(store_folder() / "features", featurizer.recipe)


def describe_origin(config: FeaturizeConfig, prepared: ImageSet) -> dict[str, Any]:
    """What features say besides the keys of their rows, for a classifier to carry: no bytes of a row depend on it.

    image_size, bit_depth, image_fit: see `stored_as`. layers: whose outputs are pooled. weights_name: how the weights
    are named, if by a word and not by a path, which other machines lack.
    """
    name = {"weights_name": config.weights} if config.weights.isalpha() else {}
    layers = config.model_dump(mode="json", include={"layers"})
    return {**stored_as(prepared), **name, **layers}


def stored_as(prepared: ImageSet) -> dict[str, Any]:
    """How prepare stored its images, for a classifier to carry.

    image_size: the side in pixels that it brought them to. bit_depth: what it took them to have, if it was told.
    image_fit: how they became square, if not by a crop.
    """
    depth = {key: value for key, value in prepared.recipe.items() if key == "bit_depth"}
    fit = {"image_fit": prepared.recipe["fit"]} if "fit" in prepared.recipe else {}
    return {"image_size": int(prepared.images.shape[1]), **depth, **fit}


def remarks(featurizer: Featurizer, sides: Collection[int]) -> list[str]:
    """What a user should know of a run: an engine that could not be used, and images that have to be enlarged.

    sides: of the stored images, in pixels.
    """
    said = []
    choice = featurizer.choice
    if choice.reason:
        said.append(f"engine auto takes {choice.engine}: {choice.reason}")
    size = featurizer.config.size
    smallest = min(sides, default=size)
    if smallest < size:
        what = f"stored images of {smallest} px are ENLARGED to featurize.size, {size} px"
        said.append(f"{what}; with prepare.size and augment.size auto they are stored at that size")
    return said


_backbone = cache(make_backbone)


def _with_engine(config: FeaturizeConfig, engine: str) -> FeaturizeConfig:
    return config.model_copy(update={"engine": engine})


def _recipe(config: FeaturizeConfig, engine: str) -> dict[str, Any]:
    backbone = _backbone(*config.backbone_arguments)
    libraries = ("torch", backbone.library, *(["onnxruntime"] if engine == "onnx" else []))
    recipe = {
        "stage": FEATURIZE,
        "code": CODE_VERSION,
        "backbone": backbone.name,
        "weights": backbone.weights_sha256,
        "mean": list(backbone.mean),
        "std": list(backbone.std),
        "size": config.size,
        "interpolation": config.interpolation,
        "engine": engine,
        "precision": config.precision,
        "dtype": config.dtype,
        "batch": config.batch,
        "device": device_kind(config.device),
        "libraries": {name: version(name) for name in libraries},
    }
    if backbone.groups:
        recipe["groups"] = [list(group) for group in backbone.groups]
    if backbone.source:
        recipe["source"] = backbone.source
    return recipe


@cache
def _choose_engine(config: FeaturizeConfig) -> EngineChoice:
    """ONNX Runtime if it gives this network's features, else eager. Decided once per recipe and kept in the store."""
    key = recipe_key(_recipe(config, "onnx"))
    path = store_folder() / "engines" / f"{key}.json"
    with suppress(OSError, ValueError, TypeError):  # not decided yet, or not legible: it can be decided again
        return EngineChoice(**json.loads(path.read_text(encoding="utf-8")))
    try:
        _network(_with_engine(config, "onnx"))
        choice = EngineChoice("onnx")
    except InputError as error:
        choice = EngineChoice("eager", str(error).removesuffix(f". {REMEDY}"))
    with suppress(OSError, AugcacheError):  # a machine that only predicts may have no store
        write_text(path, json.dumps(vars(choice)) + "\n")
    return choice


@cache
def _network(config: FeaturizeConfig) -> Callable[[Array], Tensor]:
    """A function of up to one compute batch of images; short batches are padded, so the shape never changes."""
    device = choose_device(config.device)
    backbone = _backbone(*config.backbone_arguments)
    mean, std = (torch.tensor(values, device=device).view(1, 3, 1, 1) * 255 for values in (backbone.mean, backbone.std))
    run = make_engine(config.engine, backbone.network, Placement(device, config.size, config.precision == "bfloat16"))
    layout = torch.contiguous_format if config.engine == "onnx" else torch.channels_last

    place = on_gpu(device) if device.type == "cuda" else torch.from_numpy

    def features(images: Array) -> Tensor:
        padded = images
        if len(images) < config.batch:
            padded = np.zeros((config.batch, *images.shape[1:]), dtype=np.uint8)
            padded[: len(images)] = images
        channels_first = place(np.ascontiguousarray(padded)).permute(0, 3, 1, 2)
        pixels = channels_first.to(torch.float32, memory_format=layout)  # [k, 3, h, w]
        return run(resized(pixels, config.size, config.interpolation).sub_(mean).div_(std))

    return features


def on_gpu(device: torch.device) -> Callable[[Array], Tensor]:
    """Copies arrays to a GPU through one page-locked buffer: allocating such memory can take longer than using it."""
    buffer = torch.empty(0, dtype=torch.uint8)
    copied = torch.cuda.Event()
    lock = threading.Lock()

    def place(images: Array) -> Tensor:
        nonlocal buffer
        with lock:
            copied.synchronize()
            if buffer.numel() < images.size:
                buffer = torch.empty(images.size, dtype=torch.uint8, pin_memory=True)
            staged = buffer[: images.size].view(images.shape)
            staged.copy_(torch.from_numpy(images))
            moved = staged.to(device, non_blocking=True)
            copied.record()
        return moved

    return place


@contextmanager
def batches_at_once(device: torch.device) -> Iterator[Callable[..., Iterable[Tensor]]]:
    """A `map` that computes batches side by side, each batch by one thread alone; on a GPU by the thread that calls it.

    torch's kernels share a batch among threads and treat the ends of shares with other code, so with their own threads
    the last bits of a row would depend on how many cores there are. Side by side is also the faster way on a CPU.
    A GPU's convolutions are planned anew in every new thread, which takes far longer than to compute a batch.
    """
    if device.type != "cpu":
        yield map
        return
    cores = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(min(cores, usable_threads())) as threads:
            yield threads.map
    finally:
        torch.set_num_threads(cores)
