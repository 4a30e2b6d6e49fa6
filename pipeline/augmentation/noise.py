"""Steps that hide pixels or add noise to them."""

from functools import cache
from math import sqrt
from typing import Annotated, Literal

import cv2
import numpy as np
from pydantic import BeforeValidator, Field, model_validator

from cache.layout import Array
from pipeline.augmentation.canvas import Canvas
from pipeline.augmentation.draws import (
    Count,
    Draw,
    NotNegative,
    PositiveCount,
    Probability,
    Real,
    Size,
    Unit,
    one_of,
    words,
)
from pipeline.augmentation.shapes import box_shape, fill_box
from pipeline.augmentation.step import Step

CENTRE = 127.0  # mean and deviation of the noise that imgaug fills cutouts with: 127.5, cut down to whole numbers
DEVIATION = 255 / 6
POOL = 2**21  # normal numbers in either half of the pool
SCALE = 2048  # of a deviation of 1 in the pool: int16 holds 16 deviations

Edges = tuple[float, float, float, float]  # top, left, bottom and right in pixels
FillMode = Literal["constant", "gaussian"]


class Cutout(Step):
    """Rectangles of one colour or of noise."""

    is_free = True

    nb_iterations: Count = Field(default=1, validate_default=True)
    position: Literal["uniform"] = "uniform"
    size: Size = Field(default=0.2, validate_default=True)
    squared: Probability = 1
    fill_mode: Annotated[tuple[FillMode, ...], BeforeValidator(words), Field(min_length=1)] = Field(
        default="constant", validate_default=True
    )
    cval: Real = Field(default=128, validate_default=True)
    fill_per_channel: Probability = 0

    def __call__(self, canvas: Canvas) -> None:
        count = int(self.nb_iterations(canvas.random))
        if not count:
            return
        pixels = canvas.draw_small()
        for _ in range(count):
            edges = self._edges(canvas, pixels.shape)
            if edges is not None:
                fill_box(pixels, edges, self._values(canvas, edges, pixels.shape))

    def _edges(self, canvas: Canvas, shape: tuple[int, ...]) -> Edges | None:
        """Top, left, bottom and right in pixels; whole ones of the canvas, cut off at its borders."""
        random = canvas.random
        height, width = canvas.shape
        across = random.random() * width
        down = random.random() * height
        tall = self.size(random) * height / 2
        wide = self.size(random) * width / 2
        if canvas.chance(self.squared):
            wide = tall
        top, bottom = (min(max(int(place), 0), height) for place in (down - tall, down + tall))
        left, right = (min(max(int(place), 0), width) for place in (across - wide, across + wide))
        if top >= bottom or left >= right:
            return None
        rows = shape[0] / height
        columns = shape[1] / width
        return top * rows, left * columns, bottom * rows, right * columns

    def _values(self, canvas: Canvas, edges: Edges, shape: tuple[int, ...]) -> Array:
        """What fills a rectangle of pixels of this shape: one number, [3], or [rows, columns, 1 or 3]."""
        mode = one_of(self.fill_mode, canvas.random)
        channels = 3 if canvas.chance(self.fill_per_channel) else 1
        if mode == "constant":
            colour = np.array([self.cval(canvas.random) for _ in range(channels)])
            return np.asarray(np.clip(colour, 0, 255).astype(np.uint8))
        rows = round((edges[2] - edges[0]) * canvas.shape[0] / shape[0])
        columns = round((edges[3] - edges[1]) * canvas.shape[1] / shape[1])
        noise = normal(canvas.random, (rows, columns, channels), CENTRE, DEVIATION)
        values = np.maximum(noise, 0).astype(np.uint8)
        height, width = box_shape(edges)
        if (height, width) != (rows, columns):  # averaged, as the canvas is
            values = np.asarray(cv2.resize(values, (width, height), interpolation=cv2.INTER_AREA))
        return values.reshape(height, width, channels)


class Dropout(Step):
    """Single pixels become black, in all channels or in each by itself."""

    p: Unit = Field(default=[0.0, 0.05], validate_default=True)
    per_channel: Probability = 0

    def __call__(self, canvas: Canvas) -> None:
        height, width, _ = canvas.draw().shape
        channels = 3 if canvas.chance(self.per_channel) else 1
        _keep(canvas, _kept(canvas, self.p(canvas.random), (height, width, channels)))


class CoarseDropout(Step):
    """Rectangles of a coarse grid become black."""

    p: Unit = Field(default=[0.02, 0.1], validate_default=True)
    size_px: PositiveCount | None = None
    size_percent: Size | None = None
    per_channel: Probability = 0
    min_size: int = Field(default=3, ge=1)

    @model_validator(mode="after")
    def _one_unit(self) -> "CoarseDropout":
        if self.size_px is not None and self.size_percent is not None:
            raise ValueError("takes size_px or size_percent, not both")
        return self

    def __call__(self, canvas: Canvas) -> None:
        height, width, _ = canvas.draw().shape
        channels = 3 if canvas.chance(self.per_channel) else 1
        rows, columns = (self._grid(canvas, length) for length in (height, width))
        coarse = _kept(canvas, self.p(canvas.random), (rows, columns, channels))
        kept = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_NEAREST)
        _keep(canvas, np.asarray(kept).reshape(height, width, channels))

    def _grid(self, canvas: Canvas, length: int) -> int:
        if self.size_percent is not None:
            return max(int(self.size_percent(canvas.random) * length), self.min_size)
        size = self.size_px or Draw(3, 8, (), True)
        return max(int(size(canvas.random)), self.min_size)


def _kept(canvas: Canvas, probability: float, shape: tuple[int, int, int]) -> Array:
    """uint8: 255 where a number in [0, 1) is not below the probability, else 0."""
    drawn = canvas.random.random(shape, np.float32)
    return np.asarray((drawn >= np.float32(probability)).astype(np.uint8) * np.uint8(255))


def _keep(canvas: Canvas, kept: Array) -> None:
    """Black wherever a mask [h, w, 1 or 3] is 0."""
    mask = kept if kept.shape[2] == 3 else cv2.cvtColor(kept, cv2.COLOR_GRAY2RGB)
    canvas.replace(np.asarray(cv2.bitwise_and(canvas.pixels, mask)))


class AdditiveGaussianNoise(Step):
    """Noise is added, the same to all channels or to each its own."""

    loc: Real = Field(default=0, validate_default=True)
    scale: NotNegative = Field(default=[0, 15], validate_default=True)
    per_channel: Probability = 0

    def __call__(self, canvas: Canvas) -> None:
        pixels = canvas.draw()
        channels = 3 if canvas.chance(self.per_channel) else 1
        loc = self.loc(canvas.random)
        scale = self.scale(canvas.random)
        noise = normal(canvas.random, (*pixels.shape[:2], channels), loc, scale)
        canvas.replace(added(pixels, noise))


def normal(random: np.random.Generator, shape: tuple[int, int, int], loc: float, scale: float) -> Array:
    """int16 normal numbers of this mean and deviation, rounded, at most ±255.

    To draw each number costs more than all else, so each is the sum of one number from either half of a pool of
    independent ones, at places that are drawn, with signs that are drawn. All numbers of one image are independent.
    Two images share some of either half, elsewhere in the image.
    """
    count = shape[0] * shape[1] * shape[2]
    if count > POOL:
        return np.clip(np.rint(random.normal(loc, scale, shape)), -255, 255).astype(np.int16)
    halves = _pool()
    starts = [int(random.random() * (POOL - count + 1)) for _ in halves]
    factor = scale / SCALE / sqrt(2)
    weights = [factor if random.random() < 0.5 else -factor for _ in halves]
    first, second = (half[start : start + count] for half, start in zip(halves, starts, strict=True))
    noise = np.asarray(cv2.addWeighted(first, weights[0], second, weights[1], loc)).reshape(shape)
    return noise if 8 * scale + abs(loc) < 255 else np.minimum(np.maximum(noise, -255), 255)


def added(pixels: Array, noise: Array) -> Array:
    """uint8 pixels [h, w, 3] and int16 noise [h, w, 1 or 3], cut off at 0 and 255."""
    noise = noise if noise.shape[2] == 3 else np.asarray(cv2.merge([noise] * 3))
    return np.asarray(cv2.add(pixels, noise, dtype=cv2.CV_8U))


@cache
def _pool() -> Array:
    """int16 [2, POOL]: normal numbers, the same in every process."""
    random = np.random.Generator(np.random.SFC64(0))
    numbers = random.standard_normal((2, POOL), np.float32)
    return np.rint(numbers * SCALE).astype(np.int16)
