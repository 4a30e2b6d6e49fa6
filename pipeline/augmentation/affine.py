"""Affine steps: each owes the canvas one matrix about its middle."""

from math import cos, radians, sin, tan
from typing import Annotated, Any, Literal

import cv2
import numpy as np
from pydantic import BeforeValidator, Field, model_validator

from cache.layout import Array
from pipeline.augmentation.canvas import Canvas, Edge
from pipeline.augmentation.draws import (
    Draw,
    Positive,
    Real,
    Scales,
    Shares,
    Shears,
    Shifts,
    Whole,
    one_of,
    words,
)
from pipeline.augmentation.step import Step

MODES = {
    "constant": cv2.BORDER_CONSTANT,
    "edge": cv2.BORDER_REPLICATE,
    "symmetric": cv2.BORDER_REFLECT,
    "reflect": cv2.BORDER_REFLECT_101,
    "wrap": cv2.BORDER_WRAP,
}
Mode = Literal["constant", "edge", "symmetric", "reflect", "wrap"]
Modes = Annotated[tuple[Mode, ...], BeforeValidator(words), Field(min_length=1)]


class AffineStep(Step):
    """What all steps share that are affine maps about the middle."""

    order: Literal[1] = 1
    cval: Real = Field(default=0, validate_default=True)
    mode: Modes = Field(default="constant", validate_default=True)
    fit_output: Literal[False] = False
    backend: Literal["auto", "cv2"] = "auto"

    def warp(self, canvas: Canvas, matrix: Array) -> None:
        """Owe a map [2, 3] of places counted from the canvas' middle."""
        (a, b, right), (c, d, down) = matrix.tolist()
        is_shift = a == d == 1 and b == c == 0
        if is_shift and right == down == 0:
            return
        mode = MODES[one_of(self.mode, canvas.random)]
        edge = Edge(mode)
        if mode == cv2.BORDER_CONSTANT and (self.cval.low, self.cval.high, self.cval.options) != (0, 0, ()):
            edge = Edge(mode, tuple(min(max(int(self.cval(canvas.random)), 0), 255) for _ in range(3)))
        x = canvas.shape[1] / 2 - 0.5
        y = canvas.shape[0] / 2 - 0.5
        about = np.array([[a, b, right + x - a * x - b * y], [c, d, down + y - c * x - d * y], [0.0, 0.0, 1.0]])
        interpolates = not (is_shift and right == int(right) and down == int(down))
        canvas.move(about, canvas.shape, edge, interpolates)


def affine(scale: tuple[float, float], shift: tuple[float, float], degrees: float, shear: tuple[float, float]) -> Array:
    """A matrix [2, 3] in imgaug's order of things: sheared down, then scaled, sheared across, turned and shifted."""
    angle = radians(degrees)
    lean = tan(radians(shear[0]))
    drop = tan(radians(shear[1]))
    across = (scale[0] * cos(angle), -scale[1] * (lean * cos(angle) + sin(angle)))
    down = (scale[0] * sin(angle), -scale[1] * (lean * sin(angle) - cos(angle)))
    return np.array(
        [
            [across[0] + drop * across[1], across[1], shift[0]],
            [down[0] + drop * down[1], down[1], shift[1]],
        ]
    )


class Affine(AffineStep):
    """Scaled, shifted, turned and sheared; without arguments each a little."""

    scale: Scales | None = None
    translate_percent: Shares | None = None
    translate_px: Shifts | None = None
    rotate: Real | None = None
    shear: Shears | None = None

    @model_validator(mode="before")
    @classmethod
    def _defaults(cls, values: dict[str, Any]) -> dict[str, Any]:
        if any(values.get(name) is not None for name in SMALL_CHANGES) or values.get("translate_px") is not None:
            return values
        return {**values, **SMALL_CHANGES}

    @model_validator(mode="after")
    def _one_unit(self) -> "Affine":
        if self.translate_percent is not None and self.translate_px is not None:
            raise ValueError("takes translate_percent or translate_px, not both")
        return self

    def __call__(self, canvas: Canvas) -> None:
        random = canvas.random
        scale = self.scale(random) if self.scale else (1.0, 1.0)
        shift = self.translate_px(random) if self.translate_px else (0.0, 0.0)
        if self.translate_percent:
            across, down = self.translate_percent(random)
            shift = (across * canvas.shape[1], down * canvas.shape[0])
        degrees = self.rotate(random) if self.rotate else 0.0
        shear = self.shear(random) if self.shear else (0.0, 0.0)
        self.warp(canvas, affine(scale, shift, degrees, shear))


SMALL_CHANGES: dict[str, Any] = {
    "scale": {"x": [0.9, 1.1], "y": [0.9, 1.1]},
    "translate_percent": {"x": [-0.1, 0.1], "y": [-0.1, 0.1]},
    "rotate": [-15, 15],
    "shear": {"x": [-10, 10], "y": [-10, 10]},
}


class Rotate(AffineStep):
    """Turned about the middle, in degrees."""

    rotate: Real = Field(default=[-30, 30], validate_default=True)

    def __call__(self, canvas: Canvas) -> None:
        self.warp(canvas, affine((1.0, 1.0), (0.0, 0.0), self.rotate(canvas.random), (0.0, 0.0)))


class ScaleX(AffineStep):
    """Scaled across."""

    scale: Positive = Field(default=[0.5, 1.5], validate_default=True)

    def __call__(self, canvas: Canvas) -> None:
        self.warp(canvas, affine((self.scale(canvas.random), 1.0), (0.0, 0.0), 0.0, (0.0, 0.0)))


class ScaleY(AffineStep):
    """Scaled down."""

    scale: Positive = Field(default=[0.5, 1.5], validate_default=True)

    def __call__(self, canvas: Canvas) -> None:
        self.warp(canvas, affine((1.0, self.scale(canvas.random)), (0.0, 0.0), 0.0, (0.0, 0.0)))


class Translate(AffineStep):
    """Shifted along one axis, by shares of its length or by pixels."""

    percent: Real | None = None
    px: Whole | None = None

    @model_validator(mode="after")
    def _one_unit(self) -> "Translate":
        if self.percent is not None and self.px is not None:
            raise ValueError("takes percent or px, not both")
        return self

    def distance(self, canvas: Canvas, length: int) -> float:
        """A shift in pixels along an axis of this length."""
        if self.px is not None:
            return self.px(canvas.random)
        return length * (self.percent or Draw(-0.25, 0.25))(canvas.random)


class TranslateX(Translate):
    """Shifted across."""

    def __call__(self, canvas: Canvas) -> None:
        shift = self.distance(canvas, canvas.shape[1])
        self.warp(canvas, affine((1.0, 1.0), (shift, 0.0), 0.0, (0.0, 0.0)))


class TranslateY(Translate):
    """Shifted down."""

    def __call__(self, canvas: Canvas) -> None:
        shift = self.distance(canvas, canvas.shape[0])
        self.warp(canvas, affine((1.0, 1.0), (0.0, shift), 0.0, (0.0, 0.0)))


class ShearX(AffineStep):
    """Sheared across, in degrees."""

    shear: Real = Field(default=[-30, 30], validate_default=True)

    def __call__(self, canvas: Canvas) -> None:
        self.warp(canvas, affine((1.0, 1.0), (0.0, 0.0), 0.0, (self.shear(canvas.random), 0.0)))


class ShearY(AffineStep):
    """Sheared down, in degrees."""

    shear: Real = Field(default=[-30, 30], validate_default=True)

    def __call__(self, canvas: Canvas) -> None:
        self.warp(canvas, affine((1.0, 1.0), (0.0, 0.0), 0.0, (0.0, self.shear(canvas.random))))
