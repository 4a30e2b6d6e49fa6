"""A classifier from image to probabilities, as one folder that needs nothing of the project's data."""

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from cache.errors import AugcacheError, DamagedFile, ForeignFile, NewerFile, StorageError
from cache.files import write_bytes
from cache.layout import Array, canonical
from pipeline.config.shared.featurize import FeaturizeConfig
from pipeline.config.shared.section import parse
from pipeline.config.shared.stages import FEATURIZE
from pipeline.features.featurizer import Featurizer
from pipeline.inference.classifier import (
    DESCRIPTION,
    MODEL_WEIGHTS,
    WEIGHTS,
    HeadClassifier,
    ModelClassifier,
    save_classifier,
    weights_of,
)
from pipeline.inference.load import load_classifier
from pipeline.inference.pixels import AnyImages, as_list, to_square
from pipeline.inference.restore import (
    BIT_DEPTH,
    FeaturizedHead,
    Project,
    image_size_of,
    make_featurized_head,
    open_classifier,
    overruled_values,
    preprocessing_of,
    refuse_contradictions,
    trained_values,
)

FORMAT = "augcache bundle"
VERSION = 3  # for images that were not cropped; 2: for views or without an ONNX file; else 1, the oldest that suffices
CARD = "bundle.json"
BACKBONE = "backbone.safetensors"
ONNX = "model.onnx"
FILES = {True: (DESCRIPTION, WEIGHTS, BACKBONE), False: (DESCRIPTION, MODEL_WEIGHTS)}  # with a backbone?
REMEDY = "Export it again, or fetch it again."


@dataclass(frozen=True)
class Bundle:
    """A classifier of images.

    size: side in pixels that images are brought to first, as prepare does it. views: names of inference.tta.VIEWS that
    predictions are averaged over, besides the images themselves.
    """

    size: int
    classifier: FeaturizedHead | ModelClassifier
    views: tuple[str, ...] = ()

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the columns of probabilities."""
        return self.classifier.classes

    @property
    def recipe(self) -> Mapping[str, Any]:
        """What made the classifier."""
        return _own(self.classifier).recipe

    @property
    def bit_depth(self) -> int | None:
        """What prepare took the depth of undeclared images to be; None if it was not told."""
        depth = self.recipe.get(BIT_DEPTH)
        return None if depth is None else int(depth)

    @property
    def note(self) -> str:
        """Which engine stands in for the one that the classifier was trained with; empty if none does."""
        return self.classifier.note if isinstance(self.classifier, FeaturizedHead) else ""

    @property
    def fit(self) -> str:
        """How images become square, as prepare.fit had it when the classifier was trained."""
        return str(_recipe_of(self.classifier).get("image_fit", "crop"))

    def predict(self, images: AnyImages, views: Collection[str] | None = None) -> Array:
        """Probabilities float32 [n, c] of images of any size, averaged over views (those of the bundle if None).

        images: uint8 RGB [n, h, w, 3], or a sequence of uint8 RGB [h, w, 3], PIL images and paths of image files, or a
        single one of these (then n is 1). Raises RecordError for anything else, Unreadable for a damaged image.
        """
        rows = as_list(images)
        if not len(rows):
            return np.empty((0, len(self.classes)), dtype=np.float32)
        square = np.stack([to_square(image, self.size, self.fit) for image in rows])
        names = self.views if views is None else views
        if not names:
            return self.classifier.probabilities(square)
        from pipeline.inference.tta import mean_over_views  # whose torchvision takes two seconds to import

        return mean_over_views(self.classifier, square, names)


def open_bundle(folder: Path, project: Project) -> Bundle:
    """The classifier in a folder of the project, with all that it was trained with. Raises as `open_classifier`."""
    classifier = open_classifier(folder, project)
    return Bundle(image_size_of(_own(classifier), project, folder), classifier)


def _own(classifier: FeaturizedHead | ModelClassifier) -> HeadClassifier | ModelClassifier:
    return classifier.head if isinstance(classifier, FeaturizedHead) else classifier


def _recipe_of(classifier: FeaturizedHead | ModelClassifier) -> Mapping[str, Any]:
    return classifier.head.recipe if isinstance(classifier, FeaturizedHead) else classifier.recipe


def check_asked(bundle: Bundle, asked: Mapping[str, Any]) -> None:
    """Raise ParamsError if the bundle was made with other values than the user asks for, by `section.key`."""
    refuse_contradictions(_own(bundle.classifier), bundle.size, asked)


def overruled(bundle: Bundle, sections: Mapping[str, Any]) -> str:
    """A line about values of params.yaml that the classifier was not trained with; empty if there are none."""
    values = overruled_values(trained_values(_own(bundle.classifier), bundle.size), sections)
    return f"as the classifier was trained: {'; '.join(values)} as in params.yaml" if values else ""


def save_bundle(
    folder: Path,
    bundle: Bundle,
    onnx: bytes | None,
    provenance: Mapping[str, Any],
    extras: Mapping[str, bytes] = MappingProxyType({}),
) -> None:
    """Write the bundle; its card comes last, so a folder with a card is whole.

    onnx: None if there is no such form. extras: more files by name, which predicting does not need.
    """
    (folder / CARD).unlink(missing_ok=True)
    for name in (ONNX, *extras):
        (folder / name).unlink(missing_ok=True)
    for name, content in extras.items():
        write_bytes(folder / name, content)
    if onnx is not None:
        write_bytes(folder / ONNX, onnx)
    version = 1 if onnx is not None and not bundle.views else 2
    version = version if bundle.fit == "crop" else VERSION
    card: dict[str, Any] = {"format": FORMAT, "version": version, "size": bundle.size, "provenance": provenance}
    if extras:
        card["extras"] = {name: _digest(folder / name) for name in extras}
    if bundle.views:
        card["views"] = list(bundle.views)
    if isinstance(bundle.classifier, FeaturizedHead):
        save_classifier(folder, bundle.classifier.head)
        card[FEATURIZE] = _save_backbone(folder, bundle.classifier.featurizer)
    else:
        save_classifier(folder, bundle.classifier)
    names = [*FILES[FEATURIZE in card], *([ONNX] if onnx is not None else [])]
    write_bytes(folder / CARD, canonical({**card, "files": {name: _digest(folder / name) for name in names}}) + b"\n")


def _save_backbone(folder: Path, featurizer: Featurizer) -> dict[str, Any]:
    """Write its weights; return the section `featurize` that makes it of them."""
    backbone = featurizer.backbone
    write_bytes(folder / BACKBONE, weights_of(backbone.tensors))
    portable = {"weights": BACKBONE, "weights_folder": None, "scheduler": None, "workers": 1, "device": "auto"}
    own = {"engine": featurizer.engine, "preprocessing": preprocessing_of(featurizer.recipe)}
    return featurizer.config.model_dump(mode="json") | portable | own


def load_bundle(folder: str | Path) -> Bundle:
    """Read what `save_bundle` wrote, checking every byte. Runs no code from it.

    If its engine does not run on this machine, another one computes and `Bundle.note` says so. Raises StorageError if
    there is no bundle, ForeignFile, NewerFile or DamagedFile if it cannot be used.
    """
    folder = Path(folder)
    card = _read_card(folder)
    for name, expected in card["files"].items():
        digest = _digest(folder / Path(name).name)
        if digest != expected:
            raise DamagedFile("checksum does not match", where=folder / name, remedy=REMEDY)
    try:
        classifier = load_classifier(folder)
        views = tuple(str(name) for name in card.get("views", ()))
        if FEATURIZE not in card:
            return Bundle(int(card["size"]), _model(classifier), views)
        return Bundle(int(card["size"]), _featurized(folder, card[FEATURIZE], _head(classifier)), views)
    except (AugcacheError, TypeError, ValueError, KeyError) as error:
        raise DamagedFile("bundle cannot be used", where=folder, found=str(error), remedy=REMEDY) from error


def _featurized(folder: Path, section: Mapping[str, Any], head: HeadClassifier) -> FeaturizedHead:
    values = {**section, "weights": str(folder / BACKBONE), "preprocessing": preprocessing_of(head.recipe)}
    if values["engine"] == "onnx":
        values["device"] = "cpu"
    return make_featurized_head(head, Featurizer(parse(FeaturizeConfig, values, FEATURIZE, CARD)))


def _head(classifier: HeadClassifier | ModelClassifier) -> HeadClassifier:
    if isinstance(classifier, ModelClassifier):
        raise DamagedFile("a full model beside a backbone", where=CARD)
    return classifier


def _model(classifier: HeadClassifier | ModelClassifier) -> ModelClassifier:
    if isinstance(classifier, HeadClassifier):
        raise DamagedFile("a head without its backbone", where=CARD)
    return classifier


def _read_card(folder: Path) -> dict[str, Any]:
    try:
        card = json.loads((folder / CARD).read_bytes())
    except (FileNotFoundError, NotADirectoryError) as error:
        remedy = "Name the folder that `python -m stages.export` wrote."
        raise StorageError("no bundle", where=folder, expected=CARD, remedy=remedy) from error
    except ValueError as error:
        raise DamagedFile("not JSON", where=folder / CARD, remedy=REMEDY) from error
    if not isinstance(card, dict) or card.get("format") != FORMAT:
        raise ForeignFile("not a bundle", where=folder / CARD, expected=repr(FORMAT), remedy=REMEDY)
    if not isinstance(card.get("version"), int) or card["version"] > VERSION:
        actual = f"version {card.get('version')}"
        raise NewerFile("format is newer than this code", where=folder, expected=f"version {VERSION}", found=actual)
    if set(card.get("files", ())) - {ONNX} != set(FILES[FEATURIZE in card]):
        raise DamagedFile("its card does not name its files", where=folder / CARD, remedy=REMEDY)
    return card


def _digest(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DamagedFile(f"cannot be read: {error.strerror}", where=path, remedy=REMEDY) from error
