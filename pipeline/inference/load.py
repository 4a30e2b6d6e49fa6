"""Reading trained classifiers, heads and full models, from a folder."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from cache.errors import DamagedFile, ParamsError, RecordError, StorageError
from pipeline.config.shared.networks import BACKBONE, network_of
from pipeline.config.shared.stages import TRAIN_HEAD, TRAIN_MODEL
from pipeline.features.backbone import make_backbone
from pipeline.inference.classifier import (
    DESCRIPTION,
    MODEL_WEIGHTS,
    REMEDY,
    WEIGHTS,
    HeadClassifier,
    ModelClassifier,
    make_model_classifier,
)
from pipeline.networks.head import FineTuned, Head, fine_tuned


def load_classifier(folder: Path) -> HeadClassifier | ModelClassifier:
    """Read what `save_classifier` wrote. Raises StorageError if it is absent, DamagedFile if it is broken."""
    try:
        description = json.loads((folder / DESCRIPTION).read_bytes())
        classes = tuple(str(name) for name in description["classes"])
        recipe = dict(description["recipe"])
        temperature = float(description["temperature"])
        if not 0 < temperature < float("inf"):
            raise ValueError(f"temperature {temperature}")
        if recipe.get("stage") == TRAIN_MODEL:
            return _load_model(folder, classes, recipe, temperature)
        return HeadClassifier(_load_head(folder), classes, recipe, temperature)
    except FileNotFoundError as error:
        stage = TRAIN_MODEL if folder.name == TRAIN_MODEL else TRAIN_HEAD
        raise StorageError("no classifier", where=folder, remedy=f"Run {stage}.") from error
    except (SafetensorError, ParamsError, ValueError, KeyError, TypeError, RuntimeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        remedy = "Run the stage that trains it again."
        raise DamagedFile("classifier cannot be read", where=folder, found=reason, remedy=remedy) from error


def load_head(folder: Path) -> HeadClassifier:
    """A head over features. Raises what `load_classifier` raises, and RecordError for a full model."""
    classifier = load_classifier(folder)
    if not isinstance(classifier, HeadClassifier):
        raise RecordError("not a head over features", where=folder, remedy=REMEDY)
    return classifier


def _load_head(folder: Path) -> Head:
    tensors = load_file(folder / WEIGHTS)
    layers = [tensors[name] for name in sorted(tensors, key=_layer) if name.endswith(".weight")]
    head = Head([len(tensors["mean"]), *map(len, layers)], 0.0, 0.0)
    head.load_state_dict(tensors)
    return head.eval()


def _load_model(folder: Path, classes: tuple[str, ...], recipe: dict[str, Any], temperature: float) -> ModelClassifier:

    from pipeline.networks.factory import make_network  # whose timm takes two seconds to import

    if recipe["network"]["name"] == BACKBONE:
        network: nn.Module = untrained(recipe["network"])
    else:
        network = make_network(network_of(recipe["network"]), len(classes))
    network.load_state_dict(load_file(folder / MODEL_WEIGHTS))
    return make_model_classifier(network, classes, recipe, temperature)


def _layer(name: str) -> tuple[int, str]:
    """`layers.3.weight` by its number."""
    number = name.split(".")[1:2]
    return int(number[0]) if number and number[0].isdigit() else -1, name


def untrained(description: Mapping[str, Any]) -> FineTuned:
    """A network of the form that a fine-tuned one has, by its description, for its weights to be loaded into."""
    backbone = make_backbone(str(description["backbone"]), "random", int(description["size"]))
    return fine_tuned(backbone.network, Head([int(width) for width in description["widths"]], 0.0, 0.0))
