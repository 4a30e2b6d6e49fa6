"""Grids of images as PNG files."""

import io

import numpy as np
from PIL import Image

from cache.layout import Array


def grid_png(images: Array) -> bytes:
    """A PNG of images uint8 [rows, columns, h, w, 3] side by side."""
    rows, columns, height, width, _ = images.shape
    whole = images.transpose(0, 2, 1, 3, 4).reshape(rows * height, columns * width, 3)
    target = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(whole)).save(target, format="PNG")
    return target.getvalue()
