"""Trained classifiers on disk: safetensors and JSON, never a pickle."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from cache.errors import DamagedFile, RecordError, StorageError
from cache.layout import Array, canonical
from cache.records import FeatureSet
from cache.writer import write_bytes
from pipeline.head import Head, predict_logits
from pipeline.predictions import Predictions

DESCRIPTION, WEIGHTS = "classifier.json", "head.safetensors"
REMEDY = "Run train_head again."
# What features must have in common with those that the head was trained on; device, engine and batch may differ.
BACKBONE_KEYS = ("backbone", "weights", "mean", "std", "size", "interpolation")


class Classifier(Protocol):
    """What evaluates and predicts, whether a head or a full model."""

    classes: tuple[str, ...]

    def predict(self, features: FeatureSet) -> Predictions: ...


@dataclass(frozen=True)
class HeadClassifier:
    """A head with the classes it tells apart, the recipe of the features it reads, and what divides its logits."""

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

    def check_backbone(self, recipe: Mapping[str, Any]) -> None:
        """Raise RecordError for a recipe of features by another backbone than the head was trained on."""
        for key in BACKBONE_KEYS:
            if recipe.get(key) != self.recipe.get(key):
                expected, found = self.recipe.get(key), recipe.get(key)
                what = f"features are of another backbone ({key})"
                raise RecordError(what, expected=expected, found=found, remedy=REMEDY)


def save_classifier(folder: Path, classifier: HeadClassifier) -> None:
    """Write the classifier; both files are complete or absent."""
    tensors = {name: value.contiguous() for name, value in classifier.head.state_dict().items()}
    description = {
        "classes": list(classifier.classes),
        "recipe": classifier.recipe,
        "temperature": classifier.temperature,
    }
    write_bytes(folder / WEIGHTS, save(tensors))
    write_bytes(folder / DESCRIPTION, canonical(description) + b"\n")


def load_classifier(folder: Path) -> HeadClassifier:
    """Read what `save_classifier` wrote. Raises StorageError where it is absent, DamagedFile where it is broken."""
    try:
        description = json.loads((folder / DESCRIPTION).read_bytes())
        tensors = load_file(folder / WEIGHTS)
        layers = [tensors[name] for name in sorted(tensors, key=_layer) if name.endswith(".weight")]
        head = Head([len(tensors["mean"]), *map(len, layers)], 0.0, 0.0)
        head.load_state_dict(tensors)
        classes = tuple(str(name) for name in description["classes"])
        temperature = float(description["temperature"])
        if not 0 < temperature < float("inf"):
            raise ValueError(f"temperature {temperature}")
        return HeadClassifier(head.eval(), classes, dict(description["recipe"]), temperature)
    except FileNotFoundError as error:
        raise StorageError("no classifier", where=folder, remedy="Run train_head.") from error
    except (SafetensorError, ValueError, KeyError, TypeError, RuntimeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DamagedFile("classifier cannot be read", where=folder, found=reason, remedy=REMEDY) from error


def _layer(name: str) -> tuple[int, str]:
    """`layers.3.weight` by its number."""
    number = name.split(".")[1:2]
    return int(number[0]) if number and number[0].isdigit() else -1, name
