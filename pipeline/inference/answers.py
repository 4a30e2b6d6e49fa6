"""Probabilities and features of images by a whole classifier, kept in the part store: an image is computed once."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from cache.errors import AugcacheError
from cache.layout import Array, canonical, hex_keys, row_digests
from cache.parts import PartStore, StoreIndex, read_part, store_folder
from pipeline.inference.bundle import Bundle
from pipeline.inference.classifier import HeadClassifier, ModelClassifier, weights_of
from pipeline.inference.restore import FeaturizedHead
from pipeline.runtime.devices import device_kind

CODE_VERSION = 1
BATCH = 32  # fixed, the last one padded, so that a row never depends on its neighbours


@dataclass(frozen=True)
class Answers:
    """probabilities: float32 [k, c]. features: float32 [k, d], those that classify. computed: how many were new."""

    probabilities: Array
    features: Array
    computed: int


@dataclass(frozen=True)
class Answerer:
    """A classifier with the views that it averages over."""

    bundle: Bundle
    views: tuple[str, ...] = ()
    _opened: list[StoreIndex] = field(default_factory=list)

    @cached_property
    def recipe(self) -> dict[str, Any]:
        """Everything but the pixels that decides an answer."""
        classifier = self.bundle.classifier
        recipe: dict[str, Any] = {"stage": "predict", "code": CODE_VERSION, "size": self.bundle.size}
        recipe |= {"views": list(self.views), "classes": list(classifier.classes)}
        if isinstance(classifier, FeaturizedHead):
            own = classifier.head
            tensors = own.head.state_dict()
            recipe |= {"features": classifier.featurizer.recipe, "temperature": own.temperature}
        else:
            tensors = classifier.pixels.network.state_dict()
            recipe |= {"made_by": classifier.recipe, "temperature": classifier.temperature}
        libraries = {name: version(name) for name in ("torch", "torchvision")}
        device = device_kind("auto")
        digest = hashlib.sha256(weights_of(tensors)).hexdigest()
        return recipe | {"weights": digest, "libraries": libraries, "device": device}

    @property
    def head(self) -> HeadClassifier | None:
        """What could answer from features of featurize alone; None for a full model, or if views are averaged."""
        classifier = self.bundle.classifier
        return classifier.head if isinstance(classifier, FeaturizedHead) and not self.views else None

    def __call__(self, images: Array) -> Answers:
        """Of images uint8 [k, size, size, 3]; those that the store knows are not computed."""
        if not len(images):
            return self._split(np.empty((0, len(self.bundle.classes)), dtype=np.float32), 0)
        keys = hex_keys(row_digests(images))
        missing = self._index.missing(keys)
        if not len(missing):
            return self._split(self._index.rows(keys)[:], 0)
        rows = self._computed(images[missing])
        self._keep(keys[missing], rows)
        return self._split(self._joined(keys, keys[missing], rows), len(missing))

    def _joined(self, keys: Array, new_keys: Array, new: Array) -> Array:
        """Rows for all keys: new ones, and the others from the store."""
        places = {key: place for place, key in enumerate(new_keys.tolist())}
        is_new = np.array([key in places for key in keys.tolist()])
        rows = np.empty((len(keys), new.shape[1]), dtype=np.float32)
        rows[is_new] = new[[places[key] for key in keys[is_new].tolist()]]
        if not is_new.all():
            rows[~is_new] = self._index.rows(keys[~is_new])[:]
        return rows

    @property
    def _index(self) -> StoreIndex:
        if not self._opened:
            self._opened.append(self._store.open())
        return self._opened[0]

    def _keep(self, keys: Array, rows: Array) -> None:
        with suppress(OSError, AugcacheError):  # a machine that only predicts may have no store
            part = read_part(self._store.write(keys, rows), self._store.recipe)
            self._opened[0] = self._index.joined(keys, part.rows)

    @property
    def _store(self) -> PartStore:
        return PartStore(store_folder() / "predictions", self._plain_recipe)

    @cached_property
    def _plain_recipe(self) -> dict[str, Any]:
        """The recipe with its long parts as one digest."""
        return {"stage": "predict", "recipe": hashlib.sha256(canonical(self.recipe)).hexdigest()}

    def _split(self, rows: Array, computed: int) -> Answers:
        count = len(self.bundle.classes)
        return Answers(rows[:, :count], rows[:, count:], computed)

    def _computed(self, images: Array) -> Array:
        """float32 [k, c + d]: probabilities beside features."""
        blocks = []
        for start in range(0, len(images), BATCH):
            block = images[start : start + BATCH]
            padded = np.zeros((BATCH, *images.shape[1:]), dtype=np.uint8)
            padded[: len(block)] = block
            blocks.append(self._batch(padded)[: len(block)])
        return np.concatenate(blocks)

    def _batch(self, images: Array) -> Array:
        classifier = self.bundle.classifier
        if isinstance(classifier, FeaturizedHead):
            features = classifier.featurizer(images, np.empty(len(images), dtype="S64"))
            probabilities = classifier.head.probabilities(features)
        else:
            probabilities, features = _with_features(classifier, images)
        if self.views:
            from pipeline.inference.tta import mean_over_views  # whose torchvision takes two seconds to import

            probabilities = mean_over_views(classifier, images, self.views)
        return np.concatenate([probabilities, features.astype(np.float32)], axis=1)


def _with_features(classifier: ModelClassifier, images: Array) -> tuple[Array, Array]:
    """Probabilities, and what the network's last linear layer reads; nothing if it has none."""
    layers = [layer for layer in classifier.pixels.network.modules() if isinstance(layer, nn.Linear)]
    if not layers:
        return classifier.probabilities(images), np.empty((len(images), 0), dtype=np.float32)
    with _inputs_of(layers[-1]) as seen:
        probabilities = classifier.probabilities(images)
    return probabilities, torch.cat([own.flatten(1) for own in seen]).numpy()


@contextmanager
def _inputs_of(layer: nn.Module) -> Iterator[list[Tensor]]:
    seen: list[Tensor] = []
    hook = layer.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach().float().cpu()))
    try:
        yield seen
    finally:
        hook.remove()
