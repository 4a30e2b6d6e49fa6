"""The pipeline from Python, by scikit-learn's conventions: `cross_val_score`, `Pipeline` and grid searches take them.

A parameter that is None has its value from params.yaml. Caches are read with `cache.reader.read_features` and
`read_images`, and exported classifiers with `pipeline.inference.bundle.load_bundle`.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, TransformerMixin
from sklearn.model_selection import train_test_split
from sklearn.utils import Tags
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from cache.layout import Array
from cache.records import UNAUGMENTED, FeatureSet, ImageSet
from pipeline.config.params import Params, read_params
from pipeline.config.shared.stages import FEATURIZE, TRAIN_HEAD
from pipeline.features.featurizer import Featurizer, featurize
from pipeline.heads.choose import choose_head
from pipeline.inference.classifier import HeadClassifier
from pipeline.inference.pixels import AnyImages, as_list, to_square
from pipeline.runtime.workers import Pool

PARAMS = Path(__file__).resolve().parents[2] / "params.yaml"


class HeadEstimator(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A head over features, as train_head makes it: what is named is trained exactly so, the rest is chosen.

    With nothing named it is the best linear head or blend of them, unless a trained one is clearly better. epochs: of a
    trained one. hidden, lr, weight_decay, dropout, label_smoothing, batch, device: of section train_head. val: the
    fraction of the rows, stratified by class, by which the best epoch and the temperature are chosen; 0: none is held
    out, and the last epoch is kept.
    random_state: seed of the split, initialisation, order and dropout.

    Fitted: classes_ [c], n_features_in_, classifier_ (a HeadClassifier).
    """

    def __init__(  # noqa: PLR0913, PLR0917 - scikit-learn wants every parameter by name
        self,
        epochs: int = 12,
        hidden: Sequence[int] | None = None,
        lr: float | None = None,
        weight_decay: float | None = None,
        dropout: float | None = None,
        label_smoothing: float | None = None,
        batch: int | None = None,
        device: str | None = None,
        val: float = 0.1,
        random_state: int = 0,
    ) -> None:
        self.epochs = epochs
        self.hidden = hidden
        self.lr = lr
        self.weight_decay = weight_decay
        self.dropout = dropout
        self.label_smoothing = label_smoothing
        self.batch = batch
        self.device = device
        self.val = val
        self.random_state = random_state

    def fit(self, X: Array, y: Array) -> Self:  # noqa: N803 - scikit-learn's name
        """X: features float [n, d]. y: labels [n] of any type. Raises ValueError for other shapes or a single class."""
        features, targets = validate_data(self, X, y, dtype=np.float32)
        check_classification_targets(targets)
        self.classes_, labels = np.unique(targets, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(f"a classifier needs at least two classes; found 1 class: {self.classes_[0]!r}")
        keys = ("hidden", "lr", "weight_decay", "dropout", "label_smoothing", "batch", "device")
        values = {key: getattr(self, key) for key in keys}
        values |= {"schedule": [f"{UNAUGMENTED} x {self.epochs}"], "seed": self.random_state}
        config = read_defaults(TRAIN_HEAD, values).train_head
        train, val = self._split(features, labels)
        fit = choose_head({UNAUGMENTED: train}, {UNAUGMENTED: val} if len(val) else {}, config).fit
        self.classifier_ = HeadClassifier(fit.head, train.classes, {}, fit.temperature)
        return self

    def predict_proba(self, X: Array) -> Array:  # noqa: N803
        """Probabilities float32 [n, c], columns as in classes_."""
        check_is_fitted(self)
        features = validate_data(self, X, dtype=np.float32, reset=False)
        return self.classifier_.probabilities(features)

    def predict(self, X: Array) -> Array:  # noqa: N803
        """The likeliest label of each row, [n]."""
        probabilities = self.predict_proba(X)
        return np.asarray(self.classes_[probabilities.argmax(axis=1)])

    def _split(self, features: Array, labels: Array) -> tuple[FeatureSet, FeatureSet]:
        ids = np.array([f"{row:064x}" for row in range(len(labels))], dtype="S64")
        names = tuple(str(number) for number in range(len(self.classes_)))
        train, val = (
            FeatureSet(features[index], labels[index], ids[index], names, UNAUGMENTED, backbone="given")
            for index in split_rows(labels, self.val, self.random_state)
        )
        return train, val


class ImageFeaturizer(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Images to features of a frozen backbone, as featurize computes them, through its part store.

    backbone, weights, preprocessing, size, engine, dtype, device: of section featurize. Rows are keyed by pixels and
    all that made them, so the same images cost nothing the second time, here or in the stage. Learns nothing.
    """

    def __init__(  # noqa: PLR0913, PLR0917
        self,
        backbone: str | None = None,
        weights: str | None = None,
        preprocessing: str | None = None,
        size: int | None = None,
        engine: str | None = None,
        dtype: str | None = None,
        device: str | None = None,
    ) -> None:
        self.backbone = backbone
        self.weights = weights
        self.preprocessing = preprocessing
        self.size = size
        self.engine = engine
        self.dtype = dtype
        self.device = device

    def fit(self, X: AnyImages, y: object = None) -> Self:  # noqa: N803
        """Check the parameters; there is nothing to learn. Raises ParamsError."""
        self._config()
        return self

    def transform(self, X: AnyImages) -> Array:  # noqa: N803
        """Features float [n, d] of uint8 RGB [n, h, w, 3], or of a sequence of arrays, PIL images and paths.

        Arrays of one shape are featurized as they are; images of several shapes are brought to the backbone's size as
        prepare does it. Raises RecordError for anything else.
        """
        config = self._config()
        images = stacked(X, config.size)
        ids = np.array([f"{row:064x}" for row in range(len(images))], dtype="S64")
        rows = ImageSet(images, np.zeros(len(images), dtype=np.int64), ids, ("images",))
        with Pool(1, None) as pool:
            features, _ = featurize(rows, Featurizer(config), pool)
            return np.asarray(features.features[:])

    def _config(self) -> Any:
        return read_defaults(FEATURIZE, self.get_params()).featurize

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def __sklearn_tags__(self) -> Tags:
        tags: Tags = super().__sklearn_tags__()
        tags.requires_fit = False
        tags.input_tags.two_d_array = False
        tags.input_tags.three_d_array = True
        return tags


def split_rows(labels: Array, val: float, seed: int) -> tuple[Array, Array]:
    """Rows of train and val, stratified by class; no val if some class would be missing there or in train."""
    rows = np.arange(len(labels))
    counts = np.bincount(labels)
    held_out = round(val * len(rows))
    if counts.min() < 2 or not len(counts) <= held_out <= len(rows) - len(counts):
        return rows, rows[:0]
    train, held = train_test_split(rows, test_size=held_out, stratify=labels, random_state=seed)
    return train, held


def read_defaults(section: str, values: Mapping[str, Any]) -> Params:
    """params.yaml with values of one section put in, except those that are None. Raises ParamsError."""
    return read_params(PARAMS, overrides_of(section, values))


def overrides_of(section: str, values: Mapping[str, Any]) -> list[str]:
    """Values of a section, except those that are None, as `section.key=value`."""
    given = {key: value for key, value in values.items() if value is not None}
    return [f"{section}.{key}={json.dumps(_plain(value))}" for key, value in given.items()]


def _plain(value: Any) -> Any:
    """Numbers of numpy, which grid searches pass, as Python's own."""
    if isinstance(value, np.generic):
        return value.item()
    return [_plain(part) for part in value] if isinstance(value, list | tuple | np.ndarray) else value


def stacked(images: AnyImages, size: int) -> Array:
    """uint8 [n, h, w, 3]: arrays of one shape as they are, images of several shapes as squares of `size` pixels."""
    if isinstance(images, np.ndarray) and images.ndim == 4 and images.dtype == np.uint8:
        return images
    return np.stack([to_square(image, size) for image in as_list(images)])
