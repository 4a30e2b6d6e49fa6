"""The operations of AutoAugment and RandAugment on a whole batch, each image with an operation of its own.

Ranges are those of the papers (Cubuk et al., CVPR 2019 and 2020) as torchvision has them; geometry is bilinear. Pixels
are float32 [k, 3, h, w] in 0..255; strength [k] in 0..1 and sign [k], -1 or 1, say how far an operation goes.
"""

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torchvision.transforms import v2

from cache.layout import Array
from pipeline.runtime.devices import to_device

Operation = Callable[[Tensor, Tensor, Tensor], Tensor]  # pixels, strength, sign
SHEAR = 0.3
DEGREES = 30.0
SHIFT = 150 / 331
FACTOR = 0.9
GREY = (0.299, 0.587, 0.114)  # ITU-R BT.601
RAND_AUGMENT = (
    "Identity",
    "ShearX",
    "ShearY",
    "TranslateX",
    "TranslateY",
    "Rotate",
    "Brightness",
    "Color",
    "Contrast",
    "Sharpness",
    "Posterize",
    "Solarize",
    "AutoContrast",
    "Equalize",
)
LEVELS = 9  # AutoAugment's magnitudes go from 0 to 9


def apply_operations(pixels: Tensor, names: Array, strength: Tensor, sign: Tensor) -> Tensor:
    """Each image through the operation that `names` [k] gives it."""
    moved = pixels.clone(memory_format=torch.channels_last)
    for name in np.unique(names):
        if name == "Identity":
            continue
        index = to_device(torch.from_numpy(np.flatnonzero(names == name)), pixels.device)
        chosen = pixels[index]
        moved[index] = OPERATIONS[str(name)](chosen, strength[index], sign[index])
    return moved


def auto_augment_policies(policy: str) -> list[tuple[tuple[str, float, int | None], ...]]:
    """torchvision's table: pairs of (operation, probability, magnitude)."""
    return list(v2.AutoAugment(v2.AutoAugmentPolicy(policy))._policies)


@lru_cache(maxsize=64)
def constants(values: tuple[float, ...], device: torch.device) -> Tensor:
    """float32 [n] on the device, copied there once: a copy in every step would wait for the GPU."""
    with torch.inference_mode(False):  # or what is kept could not be used in training
        return torch.tensor(values, device=device)


def warp(pixels: Tensor, matrices: Tensor) -> Tensor:
    """Bilinear, black outside. matrices [k, 2, 3]: from places of the result to places of the input, in pixels."""
    k, _, height, width = pixels.shape
    scale = constants((width / 2, height / 2), pixels.device)
    relative = matrices.clone()
    relative[:, :, :2] = matrices[:, :, :2] * scale[None, None, :] / scale[None, :, None]
    relative[:, :, 2] = matrices[:, :, 2] / scale
    grid = functional.affine_grid(relative, [k, 3, height, width], align_corners=False)
    return functional.grid_sample(pixels, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def blend(pixels: Tensor, other: Tensor, factor: Tensor) -> Tensor:
    """`other` at factor 0, the pixels at 1, beyond them above; factor [k]."""
    share = factor.view(-1, 1, 1, 1)
    return (pixels * share + other * (1 - share)).clamp(0, 255)


def grey(pixels: Tensor) -> Tensor:
    """[k, 1, h, w]: luma."""
    return (pixels * constants(GREY, pixels.device).view(1, 3, 1, 1)).sum(dim=1, keepdim=True)


def brightness(pixels: Tensor, factor: Tensor) -> Tensor:
    """Black at factor 0; factor [k]."""
    return blend(pixels, torch.zeros_like(pixels), factor)


def saturation(pixels: Tensor, factor: Tensor) -> Tensor:
    """Grey at factor 0; factor [k]."""
    return blend(pixels, grey(pixels), factor)


def contrast(pixels: Tensor, factor: Tensor) -> Tensor:
    """Every pixel the image's mean luma at factor 0; factor [k]."""
    return blend(pixels, grey(pixels).mean((2, 3), keepdim=True), factor)


def _sharpness(pixels: Tensor, factor: Tensor) -> Tensor:
    kernel = torch.ones((3, 3), device=pixels.device)
    kernel[1, 1] = 5
    smooth = pixels.clone()
    inner = functional.conv2d(pixels, (kernel / kernel.sum()).expand(3, 1, 3, 3), groups=3)
    smooth[:, :, 1:-1, 1:-1] = inner
    return blend(pixels, smooth, factor)


def _affine(
    make: Callable[[Tensor, float, float], tuple[Tensor | float, ...]],
) -> Operation:
    """An operation from what gives the six numbers of a matrix for amounts [k] and the sides."""

    def operation(pixels: Tensor, strength: Tensor, sign: Tensor) -> Tensor:
        numbers = make(strength * sign, pixels.shape[3], pixels.shape[2])
        parts = [number if isinstance(number, Tensor) else torch.full_like(strength, number) for number in numbers]
        return warp(pixels, torch.stack(parts, dim=1).view(-1, 2, 3))

    return operation


def rotation(angle: Tensor) -> Tensor:
    """[k, 2, 2]: by angles in radians [k]."""
    cos = angle.cos()
    sin = angle.sin()
    return torch.stack([torch.stack([cos, sin], dim=1), torch.stack([-sin, cos], dim=1)], dim=1)


def _rotate(pixels: Tensor, strength: Tensor, sign: Tensor) -> Tensor:
    turned = rotation(strength * sign * math.radians(DEGREES))
    return warp(pixels, torch.cat([turned, torch.zeros_like(turned[:, :, :1])], dim=2))


def _factor(change: Callable[[Tensor, Tensor], Tensor]) -> Operation:
    return lambda pixels, strength, sign: change(pixels, 1 + FACTOR * strength * sign)


def _posterize(pixels: Tensor, strength: Tensor, sign: Tensor) -> Tensor:
    bits = (8 - (4 * strength).round()).view(-1, 1, 1, 1)
    step = 2 ** (8 - bits)
    return (pixels.round() / step).floor() * step


def _solarize(pixels: Tensor, strength: Tensor, sign: Tensor) -> Tensor:
    threshold = (255 * (1 - strength)).view(-1, 1, 1, 1)
    return torch.where(pixels >= threshold, 255 - pixels, pixels)


def _equalize(pixels: Tensor, strength: Tensor, sign: Tensor) -> Tensor:
    equalized: Tensor = v2.functional.equalize(pixels.round().to(torch.uint8))
    return equalized.float()


def _autocontrast(pixels: Tensor, strength: Tensor, sign: Tensor) -> Tensor:
    stretched: Tensor = v2.functional.autocontrast(pixels / 255)
    return stretched * 255


OPERATIONS: dict[str, Operation] = {
    "ShearX": _affine(lambda amount, width, height: (1.0, SHEAR * amount, 0.0, 0.0, 1.0, 0.0)),
    "ShearY": _affine(lambda amount, width, height: (1.0, 0.0, 0.0, SHEAR * amount, 1.0, 0.0)),
    "TranslateX": _affine(lambda amount, width, height: (1.0, 0.0, SHIFT * width * amount, 0.0, 1.0, 0.0)),
    "TranslateY": _affine(lambda amount, width, height: (1.0, 0.0, 0.0, 0.0, 1.0, SHIFT * height * amount)),
    "Rotate": _rotate,
    "Brightness": _factor(brightness),
    "Color": _factor(saturation),
    "Contrast": _factor(contrast),
    "Sharpness": _factor(_sharpness),
    "Posterize": _posterize,
    "Solarize": _solarize,
    "AutoContrast": _autocontrast,
    "Equalize": _equalize,
    "Invert": lambda pixels, strength, sign: 255 - pixels,
}
