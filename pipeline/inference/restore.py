"""A trained classifier with its backbone, as it was trained: its own recipe decides, not the params of the moment."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cache.errors import AugcacheError, InputError, ParamsError, StorageError
from cache.layout import Array
from pipeline.config.shared.featurize import FeaturizeConfig
from pipeline.config.shared.section import parse
from pipeline.config.shared.stages import FEATURIZE, PREPARE
from pipeline.features.backbone import PREPROCESSING
from pipeline.features.featurizer import Featurizer
from pipeline.features.timm_models import Normalisation
from pipeline.inference.classifier import DESCRIPTION, LAST_LAYER_FOLDER, HeadClassifier, ModelClassifier
from pipeline.inference.compose import compose
from pipeline.inference.load import load_classifier, load_head
from pipeline.inference.pixel_classifier import PixelClassifier
from pipeline.training.start import Start, start_from_head

IMAGE_SIZE = "image_size"  # what a recipe carries besides the keys of feature rows
BIT_DEPTH = "bit_depth"  # of prepare, if it was not auto
WEIGHTS_NAME = "weights_name"
MACHINE_KEYS = ("weights", "device")  # of a recipe: a digest and a processor, which configure nothing
REMEDY = "Leave it out, or train again with it."


@dataclass(frozen=True)
class FeaturizedHead:
    """A head over its own backbone. Raises RecordError if they do not belong together.

    note: which engine stands in for the one that the head was trained with, if that cannot run here; else empty.
    """

    featurizer: Featurizer
    head: HeadClassifier
    note: str = ""

    def __post_init__(self) -> None:
        self.head.check_backbone(self.featurizer.recipe)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the columns of probabilities."""
        return self.head.classes

    def probabilities(self, images: Array) -> Array:
        """float32 [n, c] for images uint8 [n, h, w, 3]; features are those that the cache would hold."""
        return self.head.probabilities(self.featurizer(images, np.empty(len(images), dtype="S64")))

    @property
    def pixels(self) -> PixelClassifier:
        """Backbone and head as one network."""
        return compose(self.featurizer.backbone, self.featurizer.config, self.head)


@dataclass(frozen=True)
class Project:
    """Where a classifier looks for what it does not carry, and what the user asks for.

    data: the folder of the stages' outputs. featurize: machine settings (device, weights_folder), and the last place
    to look for weights. asked: values by `section.key` that were given on the command line; they must not contradict
    the classifier.
    """

    data: Path
    featurize: FeaturizeConfig
    asked: Mapping[str, Any]


def open_classifier(folder: Path, project: Project) -> FeaturizedHead | ModelClassifier:
    """The classifier of a folder, ready for images.

    Raises StorageError if there is none, ParamsError if it was trained with other values than the user asks for,
    InputError if the weights that it was trained on cannot be found.
    """
    classifier = load_classifier(folder)
    refuse_contradictions(classifier, image_size_of(classifier, project, folder), project.asked)
    if isinstance(classifier, ModelClassifier):
        return classifier
    return make_featurized_head(classifier, find_featurizer(classifier, project))


def image_size_of(classifier: HeadClassifier | ModelClassifier, project: Project, folder: Path) -> int:
    """Side in pixels that prepare brought the training images to.

    A classifier of an earlier version does not carry it; then the manifest of prepare says it, or the user.
    """
    carried = classifier.recipe.get(IMAGE_SIZE) or _json(project.data / PREPARE / "manifest.json").get("size")
    size = carried or project.asked.get("prepare.size")
    if not isinstance(size, int):
        what = "does not say to which size its images were brought"
        remedy = "Give it: --set prepare.size=N."
        raise StorageError(what, where=folder / DESCRIPTION, expected=IMAGE_SIZE, remedy=remedy)
    return size


def refuse_contradictions(
    classifier: HeadClassifier | ModelClassifier, image_size: int, asked: Mapping[str, Any]
) -> None:
    """Raise ParamsError for the first value that the user asks for and the classifier was not trained with."""
    trained = trained_values(classifier, image_size)
    for key, given in asked.items():
        value = list(given) if isinstance(given, tuple) else given  # as JSON has it
        if key in trained and value not in ("auto", trained[key]):
            what = "the classifier was trained with another value"
            raise ParamsError(what, where=f"--set {key}", expected=trained[key], found=value, remedy=REMEDY)


def trained_values(classifier: HeadClassifier | ModelClassifier, image_size: int) -> dict[str, Any]:
    """What decides predictions and was settled when the classifier was trained, by `section.key`."""
    recipe = classifier.recipe
    trained: dict[str, Any] = {f"{PREPARE}.size": image_size}
    if BIT_DEPTH in recipe:
        trained[f"{PREPARE}.{BIT_DEPTH}"] = recipe[BIT_DEPTH]
    if isinstance(classifier, HeadClassifier):
        shared = [key for key in FeaturizeConfig.model_fields if key in recipe and key not in MACHINE_KEYS]
        trained |= {f"{FEATURIZE}.{key}": recipe[key] for key in shared}
        trained[f"{FEATURIZE}.preprocessing"] = preprocessing_of(recipe)
    return trained


def overruled_values(trained: Mapping[str, Any], sections: Mapping[str, Any]) -> list[str]:
    """Values of params.yaml that are not those of a classifier's training, which hold: `section.key N, not M`."""
    lines = []
    for name, value in trained.items():
        section, _, key = name.partition(".")
        of_now = getattr(sections[section], key)
        if of_now not in ("auto", value):
            lines.append(f"{name} {value}, not {of_now}")
    return lines


def preprocessing_of(recipe: Mapping[str, Any]) -> str:
    """The name of a recipe's preprocessing; `auto` for a network's own."""
    normalisation: Normalisation = (tuple(recipe["mean"]), tuple(recipe["std"]))
    return next((name for name, values in PREPROCESSING.items() if values == normalisation), "auto")


def trained_config(recipe: Mapping[str, Any], base: FeaturizeConfig, weights: str) -> FeaturizeConfig:
    """The section `featurize` that a head was trained with. base: gives what decides no feature. Raises ParamsError."""
    shared = [key for key in FeaturizeConfig.model_fields if key in recipe and key not in MACHINE_KEYS]
    values = base.model_dump(mode="json") | {key: recipe[key] for key in shared}
    values |= {"weights": weights, "preprocessing": preprocessing_of(recipe)}
    if "layers" in FeaturizeConfig.model_fields:
        values["layers"] = recipe.get("layers", "last")
    if values["engine"] == "onnx":
        values["device"] = "cpu"
    return parse(FeaturizeConfig, values, FEATURIZE, DESCRIPTION)


def find_featurizer(head: HeadClassifier, project: Project) -> Featurizer:
    """The featurizer whose weights are those that the head was trained on. Raises InputError if they are not found."""
    recipe = head.recipe
    names = _weights_to_try(recipe, project)
    for name in names:
        try:
            featurizer = Featurizer(trained_config(recipe, project.featurize, name))
            if featurizer.backbone.weights_sha256 == recipe["weights"]:
                return featurizer
        except AugcacheError:
            if "featurize.weights" in project.asked:
                raise
    expected = f"weights of {recipe['backbone']} with SHA-256 {recipe['weights'][:16]}…"
    remedy = "Give their file: --set featurize.weights=PATH."
    what = "the weights that the head was trained on are not found"
    raise InputError(what, where="featurize.weights", expected=expected, found=" and ".join(names), remedy=remedy)


def open_start(folder: Path, project: Project) -> Start:
    """A head over the backbone that made its features, to be fine-tuned. Raises as `open_classifier`.

    Beside a head over several layers there may be one over the last layer alone, which is taken.
    """
    last_layer = folder / LAST_LAYER_FOLDER
    head = load_head(last_layer if last_layer.exists() else folder)
    return start_from_head(head.head, find_featurizer(head, project).config)


def make_featurized_head(head: HeadClassifier, featurizer: Featurizer) -> FeaturizedHead:
    """A head over its backbone, by an engine that runs on this machine: `eager` if the trained one does not."""
    if featurizer.engine == "eager":
        return FeaturizedHead(featurizer, head)
    side = featurizer.config.size
    try:
        featurizer(np.zeros((1, side, side, 3), dtype=np.uint8), np.empty(1, dtype="S64"))
    except (AugcacheError, RuntimeError, ImportError) as error:
        reason = " ".join(str(error).split())[:200]
        note = (
            f"engine {featurizer.engine} does not run here ({reason}); eager computes instead, up to rounding the same"
        )
        return FeaturizedHead(Featurizer(featurizer.config.model_copy(update={"engine": "eager"})), head, note)
    return FeaturizedHead(featurizer, head)


def asked_values(sections: Mapping[str, Any], overrides: Iterable[str]) -> dict[str, Any]:
    """Of the overrides `section.key=value` those of one key, with the values as they were parsed; `auto` stays."""
    values: dict[str, Any] = {}
    for override in overrides:
        path, _, text = override.partition("=")
        section, _, key = path.strip().partition(".")
        parsed = getattr(sections.get(section), key, None)
        values[path.strip()] = "auto" if text.strip() == "auto" else parsed
    return values


def _weights_to_try(recipe: Mapping[str, Any], project: Project) -> Sequence[str]:
    """Names and paths of weights: the one that was asked for alone, else carried, recorded and configured ones."""
    if "featurize.weights" in project.asked:
        return [project.featurize.weights]
    run = _json(project.data / "runs" / "featurize.json").get("params")
    recorded = run.get("weights") if isinstance(run, dict) else None
    names = (recipe.get(WEIGHTS_NAME), recorded, project.featurize.weights)
    return list(dict.fromkeys(str(name) for name in names if name))


def _json(path: Path) -> dict[str, Any]:
    """What a file of ours says; nothing if it is not there or damaged."""
    try:
        values = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}
