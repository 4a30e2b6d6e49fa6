"""The one way in which pixels are resized for a network."""

from torch import Tensor
from torch.nn import functional


def resized(pixels: Tensor, size: int, interpolation: str = "bicubic") -> Tensor:
    """Pixels [k, 3, h, w] in 0..255 to [k, 3, size, size], antialiased, still in 0..255."""
    if pixels.shape[2:] == (size, size):
        return pixels
    bigger = functional.interpolate(pixels, size=(size, size), mode=interpolation, antialias=True, align_corners=False)
    return bigger.clamp(0, 255)
