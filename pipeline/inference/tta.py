"""Test-time augmentation: several views of each image, whose probabilities are averaged (report 003)."""

from collections.abc import Callable, Collection, Iterator

import torch
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional

from cache.errors import ParamsError
from cache.layout import Array

CROP = 7 / 8  # of the side, at the corners and the centre (Krizhevsky et al., 2012)
DEGREES, SHIFT = 8.0, 0.05  # of the side
LIGHTER, DARKER = 1.15, 0.85


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
    """Turned and shifted a little, both ways."""
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


def views_of(images: Array, names: Collection[str]) -> Iterator[Array]:
    """The images uint8 [n, h, w, 3] themselves, then each named view of them, of the same form.

    Raises ParamsError for a name that is none of VIEWS.
    """
    unknown = [name for name in names if name not in VIEWS]
    if unknown:
        raise ParamsError("unknown view", where="--tta", expected=f"some of {', '.join(VIEWS)}", found=unknown[0])
    yield images
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2)
    for name in names:
        for view in VIEWS[name](pixels):
            yield view.permute(0, 2, 3, 1).contiguous().numpy()
