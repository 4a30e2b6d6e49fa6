"""Differentiable augmentation of real and generated images, for GANs of few images (Zhao et al., NeurIPS 2020)."""

import torch
from torch import Tensor
from torch.nn import functional

SHIFT = 1 / 8  # of the side
CUT = 1 / 2  # of the side


def augment_alike(images: Tensor, generator: torch.Generator) -> Tensor:
    """Images [b, 3, s, s] in -1..1 with random colour, translation and cutout, drawn for each image."""
    b = len(images)
    device = images.device

    def uniform(*shape: int) -> Tensor:
        return torch.rand(shape, generator=generator, device=device)

    bright, saturation, contrast = uniform(3, b, 1, 1, 1)
    images = images + bright - 0.5
    grey = images.mean(dim=1, keepdim=True)
    images = (images - grey) * (2 * saturation) + grey
    middle = images.mean(dim=(1, 2, 3), keepdim=True)
    images = (images - middle) * (contrast + 0.5) + middle
    return _cut(_shift(images, uniform(2, b)), uniform(2, b))


def _shift(images: Tensor, uniform: Tensor) -> Tensor:
    """Each image moves by up to an eighth of the side, filled with zeros. uniform: float [2, b] in 0..1."""
    b, _, side, _ = images.shape
    most = round(SHIFT * side)
    down, across = (uniform * (2 * most + 1)).long()
    padded = functional.pad(images, (most, most, most, most)).permute(0, 2, 3, 1)
    places = torch.arange(side, device=images.device)
    rows = places[None] + down[:, None]
    columns = places[None] + across[:, None]
    every = torch.arange(b, device=images.device)[:, None, None]
    shifted: Tensor = padded[every, rows[:, :, None], columns[:, None, :]]
    return shifted.permute(0, 3, 1, 2)


def _cut(images: Tensor, uniform: Tensor) -> Tensor:
    """A square of half the side becomes 0. uniform: float [2, b] in 0..1, its centre."""
    side = images.shape[2]
    centres = uniform * side  # [2, b]
    places = torch.arange(side, device=images.device) + 0.5
    rows, columns = ((places[None] - centre[:, None]).abs() < CUT * side / 2 for centre in centres)
    kept: Tensor = ~(rows[:, None, :, None] & columns[:, None, None, :])
    return images * kept
