"""Common corruptions of images at five severities: noise, blur, light and compression.

Formulas and constants of ImageNet-C (Hendrycks and Dietterich, ICLR 2019) for the eight kinds that need no extra image
files. Blur is given for images of 224 pixels and is scaled to smaller ones. No maintained library has them.
"""

import io
from collections.abc import Callable

import numpy as np
import torch
from PIL import Image
from scipy.ndimage import gaussian_filter
from torch import Tensor
from torch.nn import functional

REFERENCE = 224  # pixels; the side that the published constants are for
SEVERITIES = (1, 2, 3, 4, 5)
Corruption = Callable[[Tensor, int, torch.Generator], Tensor]


def corrupt(images: Tensor, name: str, severity: int, generator: torch.Generator) -> Tensor:
    """Images float [k, 3, h, w] in 0..255, corrupted and rounded to whole values as a file would hold them.

    severity: 1 to 5. generator: of torch, on the CPU, for the noises.
    """
    corrupted = CORRUPTIONS[name](images / 255, severity - 1, generator)
    return (corrupted * 255).clamp(0, 255).round()


def gaussian_noise(images: Tensor, level: int, generator: torch.Generator) -> Tensor:
    """Electronic noise: normal, added to every value."""
    noise = torch.randn(images.shape, generator=generator).to(images.device)
    return images + (0.08, 0.12, 0.18, 0.26, 0.38)[level] * noise


def shot_noise(images: Tensor, level: int, generator: torch.Generator) -> Tensor:
    """Few photons: each value is a Poisson count."""
    photons = (60, 25, 12, 5, 3)[level]
    return (torch.poisson(images.cpu() * photons, generator=generator) / photons).to(images.device)


def impulse_noise(images: Tensor, level: int, generator: torch.Generator) -> Tensor:
    """Salt and pepper: some values become 0 or 1."""
    share = (0.03, 0.06, 0.09, 0.17, 0.27)[level]
    drawn = torch.rand(images.shape, generator=generator).to(images.device)
    return torch.where(drawn < share / 2, 0.0, torch.where(drawn < share, 1.0, images))


def gaussian_blur(images: Tensor, level: int, generator: torch.Generator) -> Tensor:
    """Out of focus."""
    side = min(images.shape[2:])
    sigma = (1, 2, 3, 4, 6)[level] * side / REFERENCE
    reach = min(max(1, round(4 * sigma)), side - 1)
    blurred = gaussian_filter(images.cpu().numpy(), sigma, mode="mirror", radius=reach, axes=(2, 3))
    return torch.from_numpy(blurred).to(images.device)


def brightness(images: Tensor, level: int, generator: torch.Generator) -> Tensor:
    """More light: the value of HSV is raised; hue and saturation stay."""
    value = images.amax(dim=1, keepdim=True)
    raised = (value + (0.1, 0.2, 0.3, 0.4, 0.5)[level]).clamp(max=1)
    return torch.where(value > 0, images * raised / value.clamp(min=1e-6), raised)


def contrast(images: Tensor, level: int, generator: torch.Generator) -> Tensor:
    """As in fog: every value moves towards its channel's mean."""
    mean = images.mean(dim=(2, 3), keepdim=True)
    return (images - mean) * (0.4, 0.3, 0.2, 0.1, 0.05)[level] + mean


def pixelate(images: Tensor, level: int, generator: torch.Generator) -> Tensor:
    """Shrunk, then enlarged in blocks."""
    share = (0.6, 0.5, 0.4, 0.3, 0.25)[level]
    smaller = [max(1, int(side * share)) for side in images.shape[2:]]
    return functional.interpolate(functional.interpolate(images, smaller, mode="area"), images.shape[2:])


def jpeg(images: Tensor, level: int, generator: torch.Generator) -> Tensor:
    """Strong compression."""
    pixels = (images * 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()  # [k, h, w, 3]
    files = [io.BytesIO() for _ in pixels]
    for image, file in zip(pixels, files, strict=True):
        Image.fromarray(image).save(file, "JPEG", quality=(25, 18, 15, 10, 7)[level])
    decoded = torch.from_numpy(np.stack([np.asarray(Image.open(file)) for file in files]))
    return decoded.permute(0, 3, 1, 2).to(images.device) / 255


CORRUPTIONS: dict[str, Corruption] = {
    "gaussian_noise": gaussian_noise,
    "shot_noise": shot_noise,
    "impulse_noise": impulse_noise,
    "gaussian_blur": gaussian_blur,
    "brightness": brightness,
    "contrast": contrast,
    "pixelate": pixelate,
    "jpeg": jpeg,
}
