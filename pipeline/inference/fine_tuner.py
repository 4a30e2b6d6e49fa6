"""A backbone and its head fine-tuned on images, by scikit-learn's conventions."""

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import Tags
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted

from cache.layout import Array, hex_keys, row_digests
from cache.records import UNAUGMENTED, FeatureSet, ImageSet
from pipeline.augmentation.policy import make_augmentation
from pipeline.config.params import Params, read_params
from pipeline.config.recipe import read_recipe
from pipeline.config.shared.stages import AUGMENT, FEATURIZE, TRAIN_HEAD, TRAIN_MODEL
from pipeline.features.featurizer import Featurizer, featurize, stored_as
from pipeline.heads.choose import choose_head
from pipeline.inference.classifier import make_model_classifier
from pipeline.inference.estimators import PARAMS, overrides_of, split_rows, stacked
from pipeline.inference.pixels import AnyImages
from pipeline.runtime.workers import Pool
from pipeline.training.fit import fit_model
from pipeline.training.start import start_from_head


class FineTuner(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """What train_head and train_model do with the recipe `finetune`: first a head over a frozen backbone, then both.

    recipe: a file of pipeline/recipes for the network `backbone`. schedule: its phases, such as `all x 5`; None: the
    recipe's. variants: augmented draws of params.yaml's policies that are trained on too, such as `flip_1`. backbone,
    weights, size, device: of section featurize. val: the fraction of the images, stratified by class, on which the best
    epoch and the temperature are chosen. random_state: seed of all chance.

    Fitted: classes_ [c], classifier_ (a ModelClassifier).
    """

    def __init__(  # noqa: PLR0913, PLR0917 - scikit-learn wants every parameter by name
        self,
        recipe: str = "finetune",
        schedule: Sequence[str] | None = None,
        variants: Sequence[str] = (),
        backbone: str | None = None,
        weights: str | None = None,
        size: int | None = None,
        device: str | None = None,
        val: float = 0.1,
        random_state: int = 0,
    ) -> None:
        self.recipe = recipe
        self.schedule = schedule
        self.variants = variants
        self.backbone = backbone
        self.weights = weights
        self.size = size
        self.device = device
        self.val = val
        self.random_state = random_state

    def fit(self, X: AnyImages, y: Array) -> Self:  # noqa: N803 - scikit-learn's name
        """X: uint8 RGB [n, h, w, 3], or a sequence of arrays, PIL images and paths. y: labels [n] of any type.

        Raises ParamsError, RecordError, and ValueError for a single class.
        """
        check_classification_targets(y)
        self.classes_, labels = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(f"a classifier needs at least two classes; found 1 class: {self.classes_[0]!r}")
        params = self._params()
        images = stacked(X, params.featurize.size)
        splits = split_rows(labels, self.val, self.random_state)
        train, val = ({UNAUGMENTED: self._image_set(images[rows], labels[rows])} for rows in splits)
        val = {name: rows for name, rows in val.items() if len(rows)}
        featurizer = Featurizer(params.featurize)
        head = choose_head(_features(train, featurizer), _features(val, featurizer), params.train_head).fit.head
        plain = train[UNAUGMENTED]
        train |= {variant: _draw(plain, params, variant) for variant in self.variants}
        recipe = read_recipe(self.recipe, {} if self.schedule is None else {"schedule": list(self.schedule)})
        start = start_from_head(head, params.featurize)
        fit = next(fit_model(train, val, recipe, params.train_model, start=start))
        made_by = fit.describe(self.recipe) | stored_as(plain)
        self.classifier_ = make_model_classifier(fit.network, plain.classes, made_by, fit.temperature)
        return self

    def predict_proba(self, X: AnyImages) -> Array:  # noqa: N803
        """Probabilities float32 [n, c], columns as in classes_."""
        check_is_fitted(self)
        return self.classifier_.probabilities(stacked(X, int(self.classifier_.recipe["image_size"])))

    def predict(self, X: AnyImages) -> Array:  # noqa: N803
        """The likeliest label of each image, [n]."""
        return np.asarray(self.classes_[self.predict_proba(X).argmax(axis=1)])

    def _params(self) -> Params:
        featurize_keys = ("backbone", "weights", "size", "device")
        sections: dict[str, dict[str, Any]] = {
            FEATURIZE: {key: getattr(self, key) for key in featurize_keys} | {"layers": "last"},
            TRAIN_HEAD: {"schedule": [f"{UNAUGMENTED} x 12"], "seed": self.random_state, "device": self.device},
            TRAIN_MODEL: {"seed": self.random_state, "seeds": 1, "device": self.device},
            AUGMENT: {"variants": list(self.variants), "seed": self.random_state},
        }
        return read_params(PARAMS, [line for name, values in sections.items() for line in overrides_of(name, values)])

    def _image_set(self, images: Array, labels: Array) -> ImageSet:
        names = tuple(str(name) for name in self.classes_)
        return ImageSet(images, labels, hex_keys(row_digests(images)), names)

    def __sklearn_tags__(self) -> Tags:
        tags: Tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.three_d_array = True
        return tags


def _features(sets: Mapping[str, ImageSet], featurizer: Featurizer) -> dict[str, FeatureSet]:
    with Pool(1, None) as pool:
        return {name: featurize(images, featurizer, pool)[0] for name, images in sets.items()}


def _draw(images: ImageSet, params: Params, variant: str) -> ImageSet:
    config = params.augment.model_copy(update={"size": int(images.images.shape[1])})
    augmentation = make_augmentation(config, variant)
    pixels = augmentation(images.images[:], images.ids)
    return ImageSet(pixels, images.labels, images.ids, images.classes, variant)
