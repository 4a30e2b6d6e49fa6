"""A classifier from image to probabilities, as one folder that needs nothing of the project's data."""

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cache.errors import AugcacheError, DamagedFile, ForeignFile, NewerFile, RecordError, StorageError
from cache.files import write_bytes
from cache.layout import Array, canonical
from pipeline.config.featurize import FeaturizeConfig
from pipeline.config.shared.section import parse
from pipeline.features.backbone import PREPROCESSING
from pipeline.features.featurizer import Featurizer
from pipeline.inference.classifier import (
    DESCRIPTION,
    MODEL_WEIGHTS,
    WEIGHTS,
    HeadClassifier,
    ModelClassifier,
    load_classifier,
    save_classifier,
    weights_of,
)
from pipeline.inference.compose import compose
from pipeline.inference.pixel_classifier import PixelClassifier
from pipeline.ingest.decode import squared

FORMAT, VERSION = "augcache bundle", 1
CARD, BACKBONE, ONNX = "bundle.json", "backbone.safetensors", "model.onnx"
FILES = {True: (DESCRIPTION, WEIGHTS, BACKBONE, ONNX), False: (DESCRIPTION, MODEL_WEIGHTS, ONNX)}  # with a backbone?
REMEDY = "Export it again, or fetch it again."


@dataclass(frozen=True)
class FeaturizedHead:
    """A head over its own backbone. Raises RecordError where they do not belong together."""

    featurizer: Featurizer
    head: HeadClassifier

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
        """As one network."""
        return compose(self.featurizer.backbone, self.featurizer.config, self.head)


@dataclass(frozen=True)
class Bundle:
    """A classifier of images. size: side in pixels that images are brought to first, as prepare does it."""

    size: int
    classifier: FeaturizedHead | ModelClassifier

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the columns of probabilities."""
        return self.classifier.classes

    def predict(self, images: Array | Sequence[Array], views: Collection[str] = ()) -> Array:
        """Probabilities float32 [n, c] of RGB images uint8 [h, w, 3], each of any size; averaged over views.

        views: names of inference.tta.VIEWS, besides the images themselves. Raises RecordError for other arrays.
        """
        for image in images:
            if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
                found = f"{image.dtype} {image.shape}"
                raise RecordError("image has the wrong form", expected="uint8 [h, w, 3]", found=found)
        if not len(images):
            return np.empty((0, len(self.classes)), dtype=np.float32)
        square = np.stack([squared(image, self.size) for image in images])
        seen: Iterable[Array] = [square]
        if views:
            from pipeline.inference.tta import views_of  # whose torchvision takes two seconds to import

            seen = views_of(square, views)
        averaged = [self.classifier.probabilities(view) for view in seen]
        return np.asarray(np.stack(averaged).mean(axis=0, dtype=np.float64).astype(np.float32))


def compose_bundle(size: int, config: FeaturizeConfig, folder: Path) -> Bundle:
    """The classifier in a folder; a head with the project's own backbone. Raises RecordError, StorageError."""
    classifier = load_classifier(folder)
    if isinstance(classifier, HeadClassifier):
        return Bundle(size, FeaturizedHead(Featurizer(config), classifier))
    return Bundle(size, classifier)


def save_bundle(folder: Path, bundle: Bundle, onnx: bytes, provenance: Mapping[str, Any]) -> None:
    """Write the bundle; its card comes last, so a folder with a card is whole."""
    (folder / CARD).unlink(missing_ok=True)
    write_bytes(folder / ONNX, onnx)
    card = {"format": FORMAT, "version": VERSION, "size": bundle.size, "provenance": provenance}
    if isinstance(bundle.classifier, FeaturizedHead):
        save_classifier(folder, bundle.classifier.head)
        card["featurize"] = _save_backbone(folder, bundle.classifier.featurizer)
    else:
        save_classifier(folder, bundle.classifier)
    names = FILES["featurize" in card]
    write_bytes(folder / CARD, canonical({**card, "files": {name: _digest(folder / name) for name in names}}) + b"\n")


def _save_backbone(folder: Path, featurizer: Featurizer) -> dict[str, Any]:
    """Write its weights; return the section that makes it of them."""
    backbone = featurizer.backbone
    write_bytes(folder / BACKBONE, weights_of(backbone.tensors))
    own = {name for name, values in PREPROCESSING.items() if values == (backbone.mean, backbone.std)}
    elsewhere = {"weights": BACKBONE, "weights_folder": None, "scheduler": None, "workers": 1, "device": "auto"}
    preprocessing = "auto" if backbone.library == "timm" else own.pop()
    return featurizer.config.model_dump(mode="json") | elsewhere | {"preprocessing": preprocessing}


def load_bundle(folder: str | Path) -> Bundle:
    """Read what `save_bundle` wrote, checking every byte. Runs no code from it.

    Raises StorageError where there is none, ForeignFile, NewerFile or DamagedFile where it cannot be used.
    """
    folder = Path(folder)
    card = _read_card(folder)
    for name, expected in card["files"].items():
        found = _digest(folder / Path(name).name)
        if found != expected:
            raise DamagedFile("checksum does not match", where=folder / name, remedy=REMEDY)
    try:
        if "featurize" not in card:
            return Bundle(int(card["size"]), _model(load_classifier(folder)))
        values = {**card["featurize"], "weights": str(folder / BACKBONE)}
        return compose_bundle(int(card["size"]), parse(FeaturizeConfig, values, "featurize"), folder)
    except (AugcacheError, TypeError, ValueError, KeyError) as error:
        raise DamagedFile("bundle cannot be used", where=folder, found=str(error), remedy=REMEDY) from error


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
        found = f"version {card.get('version')}"
        raise NewerFile("format is newer than this code", where=folder, expected=f"version {VERSION}", found=found)
    if set(card.get("files", ())) != set(FILES["featurize" in card]):
        raise DamagedFile("its card does not name its files", where=folder / CARD, remedy=REMEDY)
    return card


def _digest(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DamagedFile(f"cannot be read: {error.strerror}", where=path, remedy=REMEDY) from error
