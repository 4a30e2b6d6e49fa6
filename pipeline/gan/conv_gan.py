"""A class-conditional convolutional GAN: a generator with conditional batch norm, and a projection critic.

Spectral norms: Miyato et al., ICLR 2018. Projection: Miyato & Koyama, ICLR 2018.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import spectral_norm

SIDE = 4  # pixels of the smallest maps
SLOPE = 0.2  # of leaky ReLUs
WIDEST = 8  # largest multiple of the width


def _widths(width: int, size: int) -> list[int]:
    """Channels from the full side down to 4 pixels."""
    halvings = (size // SIDE).bit_length() - 1
    return [width * min(WIDEST, 2**number) for number in range(halvings + 1)]


class ConditionalNorm(nn.Module):
    """Batch norm whose gain and bias belong to the class."""

    def __init__(self, classes: int, channels: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels, affine=False)
        self.gain = nn.Embedding(classes, channels)
        self.bias = nn.Embedding(classes, channels)
        nn.init.ones_(self.gain.weight)
        nn.init.zeros_(self.bias.weight)

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        """[b, c, h, w] and int [b]."""
        normed: Tensor = self.norm(x)
        gain = self.gain(labels)[:, :, None, None]
        bias = self.bias(labels)[:, :, None, None]
        conditioned: Tensor = normed * gain + bias
        return conditioned


class ConvGenerator(nn.Module):
    """Noise [b, latent] and classes int [b] to images [b, 3, s, s] in -1..1."""

    def __init__(self, classes: int, latent: int, width: int, size: int) -> None:
        super().__init__()
        widths = _widths(width, size)[::-1]
        self.first = nn.Linear(latent, widths[0] * SIDE * SIDE)
        pairs = list(pairwise(widths))
        self.norms = nn.ModuleList(ConditionalNorm(classes, channels) for channels in widths)
        self.convolutions = nn.ModuleList(nn.Conv2d(inputs, outputs, 3, padding=1) for inputs, outputs in pairs)
        self.last = nn.Conv2d(widths[-1], 3, 3, padding=1)

    def forward(self, noise: Tensor, labels: Tensor) -> Tensor:
        """See the class."""
        maps = self.first(noise).view(len(noise), -1, SIDE, SIDE)
        for norm, convolution in zip(self.norms, self.convolutions, strict=False):
            maps = convolution(functional.interpolate(torch.relu(norm(maps, labels)), scale_factor=2.0))
        return torch.tanh(self.last(torch.relu(self.norms[-1](maps, labels))))


class ConvCritic(nn.Module):
    """Images [b, 3, s, s] and classes int [b] to scores [b]."""

    def __init__(self, classes: int, width: int, size: int) -> None:
        super().__init__()
        widths = _widths(width, size)
        self.first = spectral_norm(nn.Conv2d(3, widths[0], 3, padding=1))
        pairs = pairwise(widths)
        self.convolutions = nn.ModuleList(
            spectral_norm(nn.Conv2d(inputs, outputs, 4, stride=2, padding=1)) for inputs, outputs in pairs
        )
        self.score = spectral_norm(nn.Linear(widths[-1], 1))
        self.projection = spectral_norm(nn.Embedding(classes, widths[-1]))

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        """See the class."""
        maps = functional.leaky_relu(self.first(images), SLOPE)
        for convolution in self.convolutions:
            maps = functional.leaky_relu(convolution(maps), SLOPE)
        pooled = maps.sum(dim=(2, 3))  # [b, c]
        scores: Tensor = self.score(pooled)[:, 0] + (self.projection(labels) * pooled).sum(dim=1)
        return scores
