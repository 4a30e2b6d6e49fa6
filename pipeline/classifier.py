"""Trained classifiers on disk: safetensors and JSON, never a pickle."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from cache.errors import DamagedFile, RecordError, StorageError
from cache.layout import canonical
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
        for key in BACKBONE_KEYS:
            if features.recipe.get(key) != self.recipe.get(key):
                expected, found = self.recipe.get(key), features.recipe.get(key)
                raise RecordError(
                    f"features are of another backbone ({key})", expected=expected, found=found, remedy=REMEDY
                )
        if features.classes != self.classes:
            raise RecordError("features are of other classes", where=features.variant, remedy=REMEDY)
        logits = predict_logits(self.head, torch.from_numpy(features.features[:]))
        probabilities = torch.softmax(logits.double() / self.temperature, dim=1).float().numpy()
        return Predictions(probabilities, features.labels, features.ids, features.classes, features.variant)


def save_classifier(folder: Path, classifier: HeadClassifier) -> None:
    """Write the classifier; both files are complete or absent."""
    layers = [module for module in classifier.head.layers if isinstance(module, torch.nn.Linear)]
    widths = [layers[0].in_features, *(layer.out_features for layer in layers)]
    tensors = {name: value.contiguous() for name, value in classifier.head.state_dict().items()}
    description = {
        "classes": list(classifier.classes),
        "recipe": classifier.recipe,
        "temperature": classifier.temperature,
        "widths": widths,
    }
    write_bytes(folder / WEIGHTS, save(tensors))
    write_bytes(folder / DESCRIPTION, canonical(description) + b"\n")


def load_classifier(folder: Path) -> HeadClassifier:
    """Read what `save_classifier` wrote. Raises StorageError where it is absent, DamagedFile where it is broken."""
    try:
        description = json.loads((folder / DESCRIPTION).read_bytes())
        head = Head([int(width) for width in description["widths"]], 0.0, 0.0)
        head.load_state_dict(load_file(folder / WEIGHTS))
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
