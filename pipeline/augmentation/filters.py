"""Steps that mix neighbouring pixels: blurs, sharpening, JPEG's losses."""

from typing import Literal

import cv2
import numpy as np
from pydantic import Field

from cache.layout import Array
from pipeline.augmentation.affine import affine
from pipeline.augmentation.canvas import Canvas
from pipeline.augmentation.draws import Direction, NotNegative, Odd, Percent, Real, Unit
from pipeline.augmentation.step import Step

LEAST_SIGMA = 0.001  # imgaug blurs by no less


class GaussianBlur(Step):
    """Blurred by a deviation in pixels."""

    sigma: NotNegative = Field(default=[0.0, 3.0], validate_default=True)

    def __call__(self, canvas: Canvas) -> None:
        sigma = self.sigma(canvas.random)
        if sigma > LEAST_SIGMA:
            side = _kernel_side(sigma)
            canvas.replace(np.asarray(cv2.GaussianBlur(canvas.draw(), (side, side), sigma)))


def _kernel_side(sigma: float) -> int:
    """imgaug's odd number of taps."""
    deviations = 3.3 if sigma < 3 else 2.9 if sigma < 5 else 2.6
    side = int(max(deviations * sigma, 5))
    return side + 1 - side % 2


class MotionBlur(Step):
    """Blurred along a line."""

    k: Odd = Field(default=[3, 7], validate_default=True)
    angle: Real = Field(default=[0, 360], validate_default=True)
    direction: Direction = Field(default=[-1.0, 1.0], validate_default=True)
    order: Literal[1] = 1

    def __call__(self, canvas: Canvas) -> None:
        side = int(self.k(canvas.random))
        side += 1 - side % 2
        angle = self.angle(canvas.random)
        share = (self.direction(canvas.random) + 1) / 2
        line = np.zeros((side, side), dtype=np.float32)
        line[:, side // 2] = np.linspace(share, 1 - share, num=side)
        canvas.replace(_filtered(canvas.draw(), _turned((line * 255).astype(np.uint8), angle)))


def _turned(kernel: Array, degrees: float) -> Array:
    """A kernel uint8 [k, k] turned about its middle, with a sum of 1."""
    middle = (len(kernel) - 1) / 2
    matrix = affine((1.0, 1.0), (0.0, 0.0), degrees, (0.0, 0.0))
    matrix[:, 2] = middle - matrix[:, :2].sum(axis=1) * middle
    turned = np.asarray(cv2.warpAffine(kernel, matrix, kernel.shape)).astype(np.float32)
    return np.asarray(turned / turned.sum())


class Sharpen(Step):
    """Mixed with a sharpened image."""

    alpha: Unit = Field(default=[0.0, 0.2], validate_default=True)
    lightness: NotNegative = Field(default=[0.8, 1.2], validate_default=True)

    def __call__(self, canvas: Canvas) -> None:
        share = self.alpha(canvas.random)
        kernel = np.full((3, 3), -share, dtype=np.float32)
        kernel[1, 1] = 1 - share + share * (8 + self.lightness(canvas.random))
        canvas.replace(_filtered(canvas.draw(), kernel))


def _filtered(pixels: Array, kernel: Array) -> Array:
    return np.asarray(cv2.filter2D(pixels, -1, kernel))


class JpegCompression(Step):
    """Compressed and read again."""

    compression: Percent = Field(default=[0, 100], validate_default=True)

    def __call__(self, canvas: Canvas) -> None:
        loss = int(self.compression(canvas.random))
        quality = min(max(round(1 + 99 * (1 - loss / 101)), 1), 100)
        pixels = cv2.cvtColor(canvas.draw(), cv2.COLOR_RGB2BGR)
        _, encoded = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])
        decoded = np.asarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR))
        canvas.replace(np.asarray(cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB)))
