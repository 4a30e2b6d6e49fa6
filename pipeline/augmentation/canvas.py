"""A picture that geometric steps owe one warp, and steps of colour one pass at the size that it is stored in."""

from collections.abc import Callable
from math import ceil
from typing import Any

import cv2
import numpy as np

from cache.layout import Array

FINER = 2  # times the stored size that pictures are warped to, or the source's size, or half of the canvas'
NEARLY = 1.5  # times that size: a canvas that is hardly larger is not made smaller
LINEAR = 1 / 6  # variance of linear interpolation in pixels, over all places between two
BOX = 1 / 6  # what a finer canvas adds to the smoothing of making it smaller, fitted to what it does to fine detail


class Canvas:
    """A picture on its way through the steps.

    pixels: uint8 [h, w, 3]. matrix [3, 3]: from their places to those of the canvas, as long as it has not been drawn.
    shape: height and width that the canvas has in imgaug. frames: shapes of earlier canvases, outside of which all is
    black, and what has moved them since. blur: variance of what imgaug's own warps would have smoothed, in pixels of
    the canvas. area: pixels of the canvas in one of `pixels`. later: what is owed to each pixel by itself, and costs
    least at the size that the picture is stored in.
    """

    def __init__(self, pixels: Array, size: int, random: np.random.Generator) -> None:
        self.pixels, self.size, self.random = pixels.copy(), size, random
        self.shape: tuple[int, int] = pixels.shape[:2]
        self.matrix, self.drawn, self.frames = np.eye(3), False, list[tuple[tuple[int, int], Array]]()
        self.later: list[Callable[[Array], Array]] = []
        self.cubic, self.warped, self.blur, self.area = False, False, 0.0, 1.0

    def uniform(self, bounds: tuple[float, float], count: int | None = None) -> Any:
        return self.random.uniform(*bounds, count)

    def move(self, step: Array, shape: tuple[int, int], framed: bool = False, warps: bool = False) -> None:
        """Owe one more matrix. framed: what lies outside of the canvas now may come into the new one, and is black.

        warps: imgaug interpolates here; the first time is smoothed by the warp that is owed.
        """
        if framed:
            self.frames.append((self.shape, np.eye(3)))
        self.matrix, self.shape = step @ self.matrix, shape
        self.frames = [(frame, step @ since) for frame, since in self.frames]
        self.blur += LINEAR if warps and self.warped else 0.0
        self.warped = self.warped or warps

    def draw(self) -> Array:
        """Pay all that is owed; the pixels, which may be written to."""
        self._warp()
        for change in self.later:
            self.pixels = change(self.pixels)
        self.later = []
        return self.pixels

    def stored(self) -> Array:
        """The same, in the size that the picture is stored in."""
        self._warp()
        if min(self.pixels.shape[:2]) < self.size:
            self.draw()  # what enlarging does to edges cannot come before what is owed
        self.pixels = to_size(self.pixels, self.size)
        return self.draw()

    def _warp(self) -> None:
        unmoved = self.shape == self.pixels.shape[:2] and np.array_equal(self.matrix, np.eye(3))
        if self.drawn or unmoved:
            self.drawn = True
            return
        finest = max(FINER * self.size, *self.pixels.shape[:2], *(side // 2 for side in self.shape))
        height, width = (side if side <= NEARLY * finest else finest for side in self.shape)
        last = scaling(width / self.shape[1], height / self.shape[0])
        pixels, zoom = self.pixels, round(height / self.pixels.shape[0])
        ratio = height / self.shape[0]
        smooth = self.blur * ratio**2 + (1 - ratio**2) * BOX
        if self.cubic and zoom > 1:  # enlarged first, which is cheaper, and smoothed by a linear warp from there
            pixels = cv2.resize(pixels, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_CUBIC)
            smooth -= LINEAR * (height / len(pixels)) ** 2
        pixels = cv2.copyMakeBorder(pixels, 1, 1, 1, 1, cv2.BORDER_REPLICATE)  # a warp's own replication is slow
        inner = scaling(self.pixels.shape[1] / (pixels.shape[1] - 2), self.pixels.shape[0] / (len(pixels) - 2))
        matrix = last @ self.matrix @ inner @ np.array([[1.0, 0, -1], [0, 1, -1], [0, 0, 1]])
        flags = cv2.INTER_CUBIC if self.cubic and zoom <= 1 else cv2.INTER_LINEAR
        self.pixels = cv2.warpPerspective(pixels, matrix, (width, height), flags=flags)
        for _ in range(times := ceil(max(0.0, 2 * smooth))):
            side = smooth / times / 2
            taps = np.array([side, 1 - 2 * side, side])
            self.pixels = np.asarray(cv2.sepFilter2D(self.pixels, -1, taps, taps))
        for frame, since in self.frames:
            seen = cv2.warpPerspective(np.full(frame, 255, dtype=np.uint8), last @ since, (width, height))
            cv2.multiply(self.pixels, cv2.merge([seen] * 3), self.pixels, 1 / 255)
        self.area, self.drawn = self.shape[0] * self.shape[1] / (height * width), True


def to_size(image: Array, size: int) -> Array:
    """To [size, size, 3]: almost every output of a policy has its own size."""
    if image.shape[:2] == (size, size):
        return image
    shrinks = image.shape[0] >= size and image.shape[1] >= size
    return np.asarray(cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC))


def scaling(across: float, down: float) -> Array:
    """Of places that are the middles of pixels."""
    return np.array([[across, 0, (across - 1) / 2], [0, down, (down - 1) / 2], [0, 0, 1.0]])


def look_up(table: Array, channel: int | None = None) -> Callable[[Array], Array]:
    """Replace each value by a table's of 256, or of [256, 3] for each channel, in all channels or in one."""
    found = np.clip(table, 0, 255).astype(np.uint8)

    def change(pixels: Array) -> Array:
        if channel is None:
            return np.asarray(cv2.LUT(pixels, found if found.ndim == 1 else found[None]))
        pixels[..., channel] = found[pixels[..., channel]]
        return pixels

    return change


def in_space(space: str, change: Callable[[Array], Array]) -> Callable[[Array], Array]:
    """Change the picture in another colour space."""
    there, back = (getattr(cv2, f"COLOR_{name}") for name in (f"RGB2{space}", f"{space}2RGB"))
    return lambda pixels: np.asarray(cv2.cvtColor(change(cv2.cvtColor(pixels, there)), back))
