"""Mirror images, quarter turns and perspective."""

from math import hypot
from typing import Literal

import cv2
import numpy as np
from pydantic import Field

from cache.layout import Array
from pipeline.augmentation.canvas import Canvas
from pipeline.augmentation.draws import NotNegative, Probability, Real, Whole
from pipeline.augmentation.step import Step


class Flip(Step):
    """A mirror image, with a probability."""

    p: Probability = 1


class Fliplr(Flip):
    """Mirrored left to right."""

    is_free = True

    def __call__(self, canvas: Canvas) -> None:
        if canvas.chance(self.p):
            across = np.array([[-1.0, 0, canvas.shape[1] - 1], [0, 1, 0], [0, 0, 1]])
            canvas.turn(across, canvas.shape, lambda pixels: np.asarray(cv2.flip(pixels, 1)))


class Flipud(Flip):
    """Upside down."""

    is_free = True

    def __call__(self, canvas: Canvas) -> None:
        if canvas.chance(self.p):
            down = np.array([[1.0, 0, 0], [0, -1, canvas.shape[0] - 1], [0, 0, 1]])
            canvas.turn(down, canvas.shape, lambda pixels: np.asarray(cv2.flip(pixels, 0)))


class Rot90(Step):
    """Quarter turns clockwise; back to the same shape if that is to be kept."""

    k: Whole = Field(default=1, validate_default=True)
    keep_size: bool = True

    def __call__(self, canvas: Canvas) -> None:
        turns = int(self.k(canvas.random)) % 4
        shape = canvas.shape
        if self.keep_size and shape[0] != shape[1]:
            canvas.draw()
        for _ in range(turns):
            height, width = canvas.shape
            quarter = np.array([[0.0, -1, height - 1], [1, 0, 0], [0, 0, 1]])
            canvas.turn(
                quarter, (width, height), lambda pixels: np.asarray(cv2.rotate(pixels, cv2.ROTATE_90_CLOCKWISE))
            )
        if self.keep_size and canvas.shape != shape:
            canvas.replace(resized_as_imgaug(canvas.pixels, shape))


class PerspectiveTransform(Step):
    """What lies between four points near the corners becomes the whole image."""

    scale: NotNegative = Field(default=[0.0, 0.06], validate_default=True)
    cval: Real = Field(default=0, validate_default=True)  # nothing comes in from outside, so it has no effect
    mode: Literal["constant", "replicate"] = "constant"
    keep_size: bool = True
    fit_output: Literal[False] = False

    def __call__(self, canvas: Canvas) -> None:
        height, width = canvas.shape
        inward = np.abs(canvas.random.standard_normal((4, 2)) * self.scale(canvas.random)) % 1
        points = np.where(FAR_CORNERS, 1 - inward, inward) * (width, height)
        corners = _ordered(points.tolist())
        size = _quadrangle_size(corners)
        goal = np.array([[0, 0], [size[1], 0], [size[1], size[0]], [0, size[0]]], dtype=np.float32)
        matrix = cv2.getPerspectiveTransform(np.array(corners, dtype=np.float32), goal)
        if self.keep_size:
            pixels = cv2.warpPerspective(canvas.draw(), matrix, (size[1], size[0]))
            canvas.replace(resized_as_imgaug(np.asarray(pixels), (height, width)))
        else:
            canvas.move(matrix, size)


FAR_CORNERS = np.array([[False, False], [True, False], [True, True], [False, True]])
Point = list[float]


def _ordered(points: list[Point]) -> list[Point]:
    """Left top, right top, right bottom, left bottom, as imgaug tells them apart."""
    by_sum = [x + y for x, y in points]
    by_difference = [y - x for x, y in points]
    chosen = (
        by_sum.index(min(by_sum)),
        by_difference.index(min(by_difference)),
        by_sum.index(max(by_sum)),
        by_difference.index(max(by_difference)),
    )
    return [list(points[index]) for index in chosen]


def _quadrangle_size(corners: list[Point]) -> tuple[int, int]:
    """Height and width of the longer sides; corners are moved apart, as imgaug does, until each side has two pixels."""
    left_top, right_top, right_bottom, left_bottom = corners
    sides = (
        ((left_top, right_top), (left_bottom, right_bottom), 0),
        ((right_top, right_bottom), (left_top, left_bottom), 1),
    )
    lengths = []
    for first, second, axis in sides:
        while min(distances := [int(hypot(b[0] - a[0], b[1] - a[1])) for a, b in (first, second)]) < 2:
            step = (2 - min(distances)) / 2
            for start, end in (first, second):
                start[axis] -= step
                end[axis] += step
        lengths.append(max(distances))
    return lengths[1], lengths[0]


def resized_as_imgaug(pixels: Array, shape: tuple[int, int]) -> Array:
    """As imgaug brings images back to their size: by area if a side grows, else linearly."""
    if pixels.shape[:2] == shape:
        return pixels
    grows = shape[0] > pixels.shape[0] or shape[1] > pixels.shape[1]
    how = cv2.INTER_AREA if grows else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(pixels, (shape[1], shape[0]), interpolation=how))
