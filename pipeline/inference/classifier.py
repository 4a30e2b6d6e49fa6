"""Trained classifiers, a head or a full model, on disk: safetensors and JSON, never a pickle."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor, nn

from cache.errors import RecordError
from cache.files import write_bytes
from cache.layout import Array, canonical
from cache.records import FeatureSet, ImageSet
from pipeline.inference.pixel_classifier import PixelClassifier, on_device
from pipeline.metrics.predictions import Predictions
from pipeline.networks.head import Head, predict_logits
from pipeline.runtime.devices import choose_device, to_device

DESCRIPTION = "classifier.json"
WEIGHTS = "head.safetensors"
MODEL_WEIGHTS = "model.safetensors"
LAST_LAYER_FOLDER = "last_layer"  # of train_head: a second head, if features are of several layers
REMEDY = "Run train_head again."
ROWS = 256  # images that a full model looks at together
# In these keys, features must agree with those that the head was trained on; device, engine and batch may differ.
BACKBONE_KEYS = ("backbone", "weights", "groups", "mean", "std", "size", "interpolation")


class Classifier(Protocol):
    """A head over features, or a full model over images."""

    @property
    def classes(self) -> tuple[str, ...]: ...
    @property
    def temperature(self) -> float: ...
    def predict(self, rows: Any, /) -> Predictions: ...


@dataclass(frozen=True)
class HeadClassifier:
    """A head, its classes, the recipe of the features that it reads, and the temperature that divides its logits.

    recipe: may carry `image_size`, the side in pixels of the stored images, and `weights_name`.
    """

    head: Head
    classes: tuple[str, ...]
    recipe: dict[str, Any]
    temperature: float = 1.0

    def predict(self, features: FeatureSet) -> Predictions:
        """Probabilities [n, c]. Raises RecordError for features of another backbone or other classes."""
        self.check_backbone(features.recipe)
        if features.classes != self.classes:
            raise RecordError("features are of other classes", where=features.variant, remedy=REMEDY)
        probabilities = self.probabilities(features.features[:])
        return Predictions(probabilities, features.labels, features.ids, features.classes, features.variant)

    def probabilities(self, features: Array) -> Array:
        """float32 [n, c] for features float [n, d] of the backbone that it was trained on."""
        logits = predict_logits(self.head, torch.from_numpy(features))
        return np.asarray(torch.softmax(logits.double() / self.temperature, dim=1).float().numpy())

    def reads(self, recipe: Mapping[str, Any]) -> bool:
        """Whether a recipe is of features by the backbone that it was trained on."""
        return all(recipe.get(key) == self.recipe.get(key) for key in BACKBONE_KEYS)

    def check_backbone(self, recipe: Mapping[str, Any]) -> None:
        """Raise RecordError for a recipe of features by another backbone than the head was trained on."""
        for key in BACKBONE_KEYS:
            if recipe.get(key) != self.recipe.get(key):
                what = f"features are of another backbone ({key})"
                raise RecordError(what, expected=self.recipe.get(key), found=recipe.get(key), remedy=REMEDY)


@dataclass(frozen=True)
class ModelClassifier:
    """A full model and its classes. recipe: its network, how it was trained, and `image_size` of the stored images."""

    pixels: PixelClassifier
    classes: tuple[str, ...]
    recipe: dict[str, Any]

    @property
    def temperature(self) -> float:
        """Divides the logits."""
        return self.pixels.temperature

    def predict(self, images: ImageSet) -> Predictions:
        """Probabilities [n, c]. Raises RecordError for images of other classes."""
        if images.classes != self.classes:
            raise RecordError("images are of other classes", where=images.variant, remedy="Run train_model again.")
        blocks = [self.probabilities(images.images[at : at + ROWS]) for at in range(0, len(images), ROWS)]
        probabilities = np.concatenate([np.empty((0, len(self.classes)), np.float32), *blocks])
        return Predictions(probabilities, images.labels, images.ids, images.classes, images.variant)

    def probabilities(self, images: Array) -> Array:
        """float32 [n, c] for images uint8 [n, h, w, 3]."""
        blocks = torch.from_numpy(images).permute(0, 3, 1, 2).split(ROWS)
        rows = [self.pixels.probabilities(to_device(block, self.pixels.device)) for block in blocks]
        return np.concatenate([np.empty((0, len(self.classes)), np.float32), *(row.cpu().numpy() for row in rows)])


def make_model_classifier(
    network: nn.Module, classes: tuple[str, ...], recipe: dict[str, Any], temperature: float
) -> ModelClassifier:
    """A full model ready to predict. recipe: holds `mean` and `std` of inputs in 0..1, `size` and `interpolation`."""
    device = choose_device("auto")
    pixels = PixelClassifier(
        network=on_device(network, device),
        mean=tuple(recipe["mean"]),
        std=tuple(recipe["std"]),
        size=int(recipe["size"]),
        interpolation=str(recipe["interpolation"]),
        temperature=temperature,
        device=device,
    )
    return ModelClassifier(pixels, classes, recipe)


def save_classifier(folder: Path, classifier: HeadClassifier | ModelClassifier) -> None:
    """Write the classifier; both files are complete or absent."""
    if isinstance(classifier, HeadClassifier):
        network: nn.Module = classifier.head
        file = WEIGHTS
    else:
        network = classifier.pixels.network
        file = MODEL_WEIGHTS
    description = {
        "classes": list(classifier.classes),
        "recipe": classifier.recipe,
        "temperature": classifier.temperature,
    }
    write_bytes(folder / file, weights_of(network.state_dict()))
    write_bytes(folder / DESCRIPTION, canonical(description) + b"\n")


def weights_of(tensors: Mapping[str, Tensor]) -> bytes:
    """A network's tensors by name, as safetensors."""
    return save({name: tensor.cpu().clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()})
