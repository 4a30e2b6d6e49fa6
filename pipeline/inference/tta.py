"""Test-time augmentation: several views of each image, whose probabilities are averaged (report 003).

`predict_over_views` serves a head over its backbone and a full model alike: a head sees the features of each view.
"""

from collections.abc import Callable, Collection, Iterable, Iterator
from itertools import chain, combinations
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional

from cache.errors import InputError, ParamsError, RecordError
from cache.layout import Array
from cache.records import ImageSet
from pipeline.metrics.predictions import Predictions

CROP = 7 / 8  # of the side, at the corners and the centre (Krizhevsky et al., 2012)
DEGREES = 8.0
SHIFT = 0.05  # of the side
LIGHTER = 1.15
DARKER = 0.85
ROWS = 256  # images that are looked at together
CANDIDATES = ("flip", "crops")  # views that `choose_views` tries, alone and together
LEAST = 1e-12  # of a probability whose logarithm is taken


class ImageClassifier(Protocol):
    """A full model, or a head over its backbone."""

    @property
    def classes(self) -> tuple[str, ...]: ...
    def probabilities(self, images: Array, /) -> Array: ...


def flips(images: Tensor) -> Iterator[Tensor]:
    """Mirrored left to right."""
    yield functional.horizontal_flip(images)


def crops(images: Tensor) -> Iterator[Tensor]:
    """The four corners and the centre, resized to the whole."""
    size = list(images.shape[2:])
    for crop in functional.five_crop(images, [round(side * CROP) for side in size]):
        yield functional.resize(crop, size, InterpolationMode.BICUBIC, antialias=True)


def jitters(images: Tensor) -> Iterator[Tensor]:
    """Lighter with more contrast, and darker with less."""
    for factor in (LIGHTER, DARKER):
        yield functional.adjust_contrast(functional.adjust_brightness(images, factor), factor)


def affines(images: Tensor) -> Iterator[Tensor]:
    """Rotated and shifted a little, both ways."""
    for sign in (1, -1):
        shift = [round(sign * SHIFT * side) for side in (images.shape[3], images.shape[2])]
        bilinear = InterpolationMode.BILINEAR
        yield functional.affine(images, sign * DEGREES, shift, 1.0, [0.0, 0.0], interpolation=bilinear)


VIEWS: dict[str, Callable[[Tensor], Iterator[Tensor]]] = {
    "flip": flips,
    "crops": crops,
    "jitter": jitters,
    "affine": affines,
}


def check_views(names: Collection[str]) -> tuple[str, ...]:
    """The names, each once. Raises ParamsError for a name that is none of VIEWS."""
    unknown = [name for name in names if name not in VIEWS]
    if unknown:
        raise ParamsError("unknown view", where="views", expected=f"some of {', '.join(VIEWS)}", found=unknown[0])
    return tuple(dict.fromkeys(names))


def views_of(images: Array, names: Collection[str]) -> Iterator[Array]:
    """The images uint8 [n, h, w, 3] themselves, then each named view of them, of the same shape.

    Raises ParamsError for a name that is none of VIEWS.
    """
    known = check_views(names)
    yield images
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2)
    for name in known:
        for view in VIEWS[name](pixels):
            yield view.permute(0, 2, 3, 1).contiguous().numpy()


def mean_over_views(classifier: ImageClassifier, images: Array, names: Collection[str]) -> Array:
    """Probabilities float32 [n, c] of images uint8 [n, h, w, 3]: the mean over the images and their views."""
    if not len(images):
        return np.empty((0, len(classifier.classes)), dtype=np.float32)
    return _mean([classifier.probabilities(view) for view in views_of(images, names)])


def predict_over_views(
    classifier: ImageClassifier,
    images: ImageSet,
    names: Collection[str],
    advance: Callable[[int], object] = lambda count: None,
) -> Predictions:
    """Predictions for a set, averaged over views; memory does not grow with the set.

    advance: is told how many images are done. Raises ParamsError for an unknown view, RecordError for images of other
    classes.
    """
    check_classes(classifier, images)
    blocks = [np.empty((0, len(images.classes)), dtype=np.float32)]
    for start in range(0, len(images), ROWS):
        blocks.append(mean_over_views(classifier, images.images[start : start + ROWS], names))
        advance(len(blocks[-1]))
    return Predictions(np.concatenate(blocks), images.labels, images.ids, images.classes, images.variant)


def choose_views(
    classifier: ImageClassifier, val: ImageSet, advance: Callable[[int], object] = lambda count: None
) -> tuple[str, ...]:
    """Of CANDIDATES the views with the lowest mean cross entropy on val; none if they cost accuracy.

    advance: is told how many images are done. Raises InputError for an empty set, RecordError for one of other classes.
    """
    check_classes(classifier, val)
    if not len(val):
        raise InputError("views are chosen on validation images, and there are none", remedy="Name the views.")
    sets = list(chain.from_iterable(combinations(CANDIDATES, count) for count in range(len(CANDIDATES) + 1)))
    scores = {names: [0.0, 0.0] for names in sets}  # right predictions, negative log likelihood
    for start in range(0, len(val), ROWS):
        rows = slice(start, start + ROWS)
        labels = np.asarray(val.labels[rows])
        for names, probabilities in _over_sets(classifier, val.images[rows], sets).items():
            own = probabilities[np.arange(len(labels)), labels].astype(np.float64)
            scores[names][0] += float((probabilities.argmax(axis=1) == labels).sum())
            scores[names][1] -= float(np.log(np.maximum(own, LEAST)).sum())
        advance(len(labels))
    as_accurate = [names for names in sets if scores[names][0] >= scores[()][0]]
    return min(as_accurate, key=lambda names: scores[names][1])


def check_classes(classifier: ImageClassifier, images: ImageSet) -> None:
    """Raise RecordError for images of other classes."""
    if images.classes != classifier.classes:
        raise RecordError("images are of other classes", where=images.variant, remedy="Train the classifier again.")


def _over_sets(
    classifier: ImageClassifier, images: Array, sets: Iterable[tuple[str, ...]]
) -> dict[tuple[str, ...], Array]:
    """The mean over each set of views; each view is looked at once."""
    plain = [classifier.probabilities(images)]
    views = {name: [classifier.probabilities(view) for view in _only(images, name)] for name in CANDIDATES}
    return {names: _mean(plain + [rows for name in names for rows in views[name]]) for names in sets}


def _only(images: Array, name: str) -> Iterator[Array]:
    """The views of one name, without the images themselves."""
    return (view for number, view in enumerate(views_of(images, [name])) if number)


def _mean(probabilities: list[Array]) -> Array:
    return np.asarray(np.stack(probabilities).mean(axis=0, dtype=np.float64).astype(np.float32))
