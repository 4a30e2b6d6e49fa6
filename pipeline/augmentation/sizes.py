"""Steps that change the size of the canvas: resizing, cropping and padding."""

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal, Self

import cv2
import numpy as np
from pydantic import BeforeValidator, Field, model_validator

from cache.layout import Array
from pipeline.augmentation.affine import MODES, Modes
from pipeline.augmentation.canvas import Canvas, Edge
from pipeline.augmentation.draws import SIDES, Draw, Length, Paddings, Sides, Whole, WholePaddings, one_of, words
from pipeline.augmentation.geometry import resized_as_imgaug
from pipeline.augmentation.step import Step

INTERPOLATIONS = {
    "nearest": cv2.INTER_NEAREST,
    "linear": cv2.INTER_LINEAR,
    "area": cv2.INTER_AREA,
    "cubic": cv2.INTER_CUBIC,
}
Interpolation = Literal["nearest", "linear", "area", "cubic"]
LARGEST_CUBIC = 2  # times its size that an image is enlarged to by cubic interpolation; the rest is linear


class Lengths(Step):
    """Height and width of a resized image; `keep` is the length as it is."""

    height: Length | Literal["keep", "keep-aspect-ratio"] = "keep"
    width: Length | Literal["keep", "keep-aspect-ratio"] = "keep"


class Resize(Step):
    """To another height and width: one draw for both, or `{height: ..., width: ...}`."""

    size: Length | Lengths
    interpolation: Annotated[tuple[Interpolation, ...], BeforeValidator(words), Field(min_length=1)] = Field(
        default="cubic", validate_default=True
    )

    @model_validator(mode="after")
    def _has_a_length(self) -> "Resize":
        if isinstance(self.size, Lengths) and "keep-aspect-ratio" == self.size.height == self.size.width:
            raise ValueError("size can keep the aspect ratio along one axis only")
        return self

    def __call__(self, canvas: Canvas) -> None:
        shape = self._shape(canvas)
        how = one_of(self.interpolation, canvas.random)
        height, width = canvas.shape
        if shape == (height, width):
            return
        grows = shape[0] >= height and shape[1] >= width
        if grows and how == "linear":
            canvas.resize(shape)
            return
        limit = (height * LARGEST_CUBIC, width * LARGEST_CUBIC)
        first = (min(shape[0], limit[0]), min(shape[1], limit[1])) if grows and how == "cubic" else shape
        pixels = cv2.resize(canvas.draw(), (first[1], first[0]), interpolation=INTERPOLATIONS[how])
        canvas.replace(np.asarray(pixels))
        if first != shape:
            canvas.resize_smooth(shape)

    def _shape(self, canvas: Canvas) -> tuple[int, int]:
        before = canvas.shape
        if isinstance(self.size, Draw):
            drawn = self.size(canvas.random)
            return _pixels(drawn, before[0]), _pixels(drawn, before[1])
        sides = (self.size.height, self.size.width)
        shape = [
            _pixels(side(canvas.random), length) if isinstance(side, Draw) else length
            for side, length in zip(sides, before, strict=True)
        ]
        for axis, side in enumerate(sides):
            if side == "keep-aspect-ratio":
                shape[axis] = int(np.round(shape[1 - axis] * (before[axis] / before[1 - axis])))
        return max(shape[0], 1), max(shape[1], 1)


def _pixels(drawn: float, length: int) -> int:
    """A number of pixels, or a share of a length."""
    return drawn if isinstance(drawn, int) else max(1, int(np.round(length * drawn)))


class Margins(Step):
    """Pixels or shares of the sides are cut off (below 0) or added."""

    px: WholePaddings | None = None
    percent: Paddings | None = None
    keep_size: bool = True
    sample_independently: bool = True

    usual: ClassVar[Draw]  # shares of the sides, without arguments

    @model_validator(mode="after")
    def _one_unit(self) -> Self:
        if self.percent is not None and self.px is not None:
            raise ValueError("takes px or percent, not both")
        return self

    def __call__(self, canvas: Canvas) -> None:
        height, width = canvas.shape
        added = self._drawn(canvas)
        edge = self.edge(canvas)
        crops = _croppings(canvas.shape, [max(-side, 0) for side in added])
        pads = [max(side, 0) for side in added]
        if self.keep_size or not canvas.is_pending:
            pixels = _cropped_and_padded(canvas.draw(), crops, pads, edge)
            canvas.replace(resized_as_imgaug(pixels, (height, width)) if self.keep_size else pixels)
            return
        if any(crops):
            canvas.move(*_shift([-crop for crop in crops], canvas.shape), interpolates=False)
        if any(pads):
            canvas.move(*_shift(pads, canvas.shape), edge, interpolates=False)

    def sides(self) -> Draw | Sides:
        """What is added to the sides, in pixels or shares."""
        return self.px or self.percent or self.usual

    def edge(self, canvas: Canvas) -> Edge:
        """What is added."""
        return Edge(cv2.BORDER_CONSTANT)

    def _drawn(self, canvas: Canvas) -> list[int]:
        """Pixels at the top, right, bottom and left."""
        sides = self.sides()
        if isinstance(sides, Sides):
            drawn = [side(canvas.random) for side in (sides.top, sides.right, sides.bottom, sides.left)]
        elif self.sample_independently:
            drawn = [sides(canvas.random) for _ in SIDES]
        else:
            drawn = [sides(canvas.random)] * 4
        if self.px is not None:
            return [int(side) for side in drawn]
        return [round(side * length) for side, length in zip(drawn, canvas.shape * 2, strict=True)]


class CropAndPad(Margins):
    """Pixels or shares of the sides are cut off (below 0) or added."""

    pad_mode: Modes = Field(default="constant", validate_default=True)
    pad_cval: Whole = Field(default=0, validate_default=True)

    usual = Draw(-0.1, 0.1)

    def edge(self, canvas: Canvas) -> Edge:
        """What is added."""
        mode = MODES[one_of(self.pad_mode, canvas.random)]
        return Edge(mode, (min(max(int(self.pad_cval(canvas.random)), 0), 255),) * 3)


class Pad(CropAndPad):
    """Pixels or shares of the sides are added."""

    usual = Draw(0.0, 0.1)

    @model_validator(mode="after")
    def _adds(self) -> Self:
        if self.sides().lowest < 0:
            raise ValueError(BELOW_ZERO)
        return self


class Crop(Margins):
    """Pixels or shares of the sides are cut off."""

    usual = Draw(0.0, 0.1)

    @model_validator(mode="after")
    def _cuts(self) -> Self:
        if super().sides().lowest < 0:
            raise ValueError(BELOW_ZERO)
        return self

    def sides(self) -> Draw | Sides:
        """What is added to the sides: less than nothing."""
        return super().sides().negated()


BELOW_ZERO = "sides must be 0 or more"


def _croppings(shape: tuple[int, int], crops: Sequence[int]) -> tuple[int, int, int, int]:
    """Top, right, bottom and left, so that one pixel is left of each axis."""
    top, bottom = _leaving_one(shape[0], crops[0], crops[2])
    right, left = _leaving_one(shape[1], crops[1], crops[3])
    return top, right, bottom, left


def _leaving_one(length: int, first: int, second: int) -> tuple[int, int]:
    """As imgaug shares out what must not be cut off."""
    regained = max(0, 1 - (length - first - second))
    by_first = min(first, (regained + 1) // 2)
    by_second = min(second, regained - by_first)
    return first - min(first, regained - by_second), second - by_second


def _cropped_and_padded(pixels: Array, crops: Sequence[int], pads: Sequence[int], edge: Edge) -> Array:
    height, width = pixels.shape[:2]
    cropped = pixels[crops[0] : height - crops[2], crops[3] : width - crops[1]]
    if not any(pads):
        return cropped
    top, right, bottom, left = pads
    return np.asarray(cv2.copyMakeBorder(cropped, top, bottom, left, right, edge.mode, value=edge.fill))


def _shift(added: Sequence[int], shape: tuple[int, int]) -> tuple[Array, tuple[int, int]]:
    """The matrix and the new shape if this is added to the top, right, bottom and left."""
    top, right, bottom, left = added
    return np.array([[1.0, 0, left], [0, 1, top], [0, 0, 1]]), (shape[0] + top + bottom, shape[1] + left + right)
