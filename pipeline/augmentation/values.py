"""Steps that change each pixel's value by itself: tables, and tables in another colour space."""

from typing import Annotated

import cv2
import numpy as np
from pydantic import Field, model_validator

from cache.layout import Array
from pipeline.augmentation.canvas import Canvas, Change
from pipeline.augmentation.draws import Draw, NotNegative, Probability, Real, SignedLevel, Unit, WholeBits
from pipeline.augmentation.step import Step

BRIGHTNESS = {"YCrCb": 0, "HSV": 2, "HLS": 1, "Lab": 0, "Luv": 0, "YUV": 0}  # the channel that is brightness
LEVELS = np.arange(256, dtype=np.float32)
HUES = 180  # of OpenCV's uint8 HSV


class Values(Step):
    """A step that moves no pixel."""

    is_free = True


def table_of(values: Array) -> Array:
    """uint8 [256] or [1, 256, 3] from numbers [256] or [256, 3], cut off at 0 and 255, as imgaug truncates them."""
    table = np.minimum(np.maximum(values, 0), 255).astype(np.uint8)  # np.clip takes four times as long
    return table if table.ndim == 1 else table[None]


def per_channel(draw: Draw, probability: float, canvas: Canvas) -> Array:
    """float32 [] for all channels alike or, with a probability, [3], drawn for each."""
    if canvas.chance(probability):
        return np.array([draw(canvas.random) for _ in range(3)], dtype=np.float32)
    return np.array(draw(canvas.random), dtype=np.float32)


def _levels(numbers: Array) -> Array:
    """All levels [256], or [256, 1] for numbers of each channel."""
    return LEVELS if numbers.ndim == 0 else LEVELS[:, None]


class Add(Values):
    """A number is added."""

    value: Real = Field(default=[-20, 20], validate_default=True)
    per_channel: Probability = 0

    def __call__(self, canvas: Canvas) -> None:
        numbers = np.rint(per_channel(self.value, self.per_channel, canvas))
        canvas.change(table_of(_levels(numbers) + numbers))


class Multiply(Values):
    """Values are multiplied."""

    mul: Real = Field(default=[0.8, 1.2], validate_default=True)
    per_channel: Probability = 0

    def __call__(self, canvas: Canvas) -> None:
        factors = per_channel(self.mul, self.per_channel, canvas)
        canvas.change(table_of(_levels(factors) * factors))


class LinearContrast(Values):
    """Stretched about 127."""

    alpha: Real = Field(default=[0.6, 1.4], validate_default=True)
    per_channel: Probability = 0

    def __call__(self, canvas: Canvas) -> None:
        alphas = per_channel(self.alpha, self.per_channel, canvas)
        canvas.change(table_of(127 + alphas * (_levels(alphas) - 127)))


class GammaContrast(Values):
    """Raised to a power."""

    gamma: NotNegative = Field(default=[0.7, 1.7], validate_default=True)
    per_channel: Probability = 0

    def __call__(self, canvas: Canvas) -> None:
        gammas = per_channel(self.gamma, self.per_channel, canvas)
        canvas.change(table_of((_levels(gammas) / np.float32(255)) ** gammas * 255))


class Solarize(Values):
    """Inverted from a threshold on."""

    p: Probability = 1
    per_channel: Annotated[float, Field(ge=0, le=0)] = 0
    threshold: Real = Field(default=[64, 192], validate_default=True)
    invert_above_threshold: Probability = 1
    min_value: None = None
    max_value: None = None

    def __call__(self, canvas: Canvas) -> None:
        threshold = self.threshold(canvas.random)
        if canvas.chance(self.p):
            above = canvas.chance(self.invert_above_threshold)
            canvas.change(table_of(np.where((threshold <= LEVELS) == above, 255 - LEVELS, LEVELS)))


class Posterize(Values):
    """Fewer bits."""

    nb_bits: WholeBits = Field(default=[1, 8], validate_default=True)

    def __call__(self, canvas: Canvas) -> None:
        width = 2 ** (8 - int(self.nb_bits(canvas.random)))
        canvas.change(table_of(LEVELS // width * width))


class Grayscale(Values):
    """Mixed with its grey values."""

    alpha: Unit = Field(default=1, validate_default=True)

    def __call__(self, canvas: Canvas) -> None:
        share = self.alpha(canvas.random)
        if share <= ALMOST:
            return

        def change(pixels: Array) -> Array:
            grey = cv2.cvtColor(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
            if share >= 1 - ALMOST:
                return np.asarray(grey)
            return np.asarray(cv2.addWeighted(grey, share, pixels, 1 - share, 0))

        canvas.change(change)


ALMOST = 0.001  # imgaug takes shares so near to 0 or 1 for 0 or 1


class MultiplyAndAddToBrightness(Values):
    """In a colour space drawn from six, in either order."""

    mul: Real = Field(default=[0.7, 1.3], validate_default=True)
    add: Real = Field(default=[-30, 30], validate_default=True)
    random_order: bool = True

    def __call__(self, canvas: Canvas) -> None:
        space = list(BRIGHTNESS)[int(canvas.random.random() * len(BRIGHTNESS))]
        factor = self.mul(canvas.random)
        more = round(self.add(canvas.random))
        if self.random_order and canvas.chance(0.5):
            values = table_of(LEVELS + more) * factor
        else:
            values = table_of(LEVELS * factor) + np.float32(more)
        canvas.change(_in_channel(space, BRIGHTNESS[space], table_of(values)))


def _in_channel(space: str, channel: int, table: Array) -> Change:
    """A table for one channel of a colour space."""
    there, back = _conversions(space)

    def change(pixels: Array) -> Array:
        converted = cv2.cvtColor(pixels, there)
        values = cv2.LUT(cv2.extractChannel(converted, channel), table)
        cv2.insertChannel(values, converted, channel)
        return np.asarray(cv2.cvtColor(converted, back))

    return change


def _conversions(space: str) -> tuple[int, int]:
    return getattr(cv2, f"COLOR_RGB2{space}"), getattr(cv2, f"COLOR_{space}2RGB")


class AddToHueAndSaturation(Values):
    """The same number is added to both, or to each its own; hue is a circle of 255."""

    value: SignedLevel | None = None
    value_hue: SignedLevel | None = None
    value_saturation: SignedLevel | None = None
    per_channel: Probability = 0

    @model_validator(mode="after")
    def _one_or_two(self) -> "AddToHueAndSaturation":
        if self.value is not None and not self.value_hue is self.value_saturation is None:
            raise ValueError("takes value, or value_hue and value_saturation, not both")
        return self

    def __call__(self, canvas: Canvas) -> None:
        hue, saturation = self._drawn(canvas)
        turned = (LEVELS + int(hue / 255 * HUES)) % HUES
        canvas.change(_in_hsv(table_of(turned), table_of(LEVELS + saturation)))

    def _drawn(self, canvas: Canvas) -> tuple[float, float]:
        random = canvas.random
        if self.value is not None:
            hue = self.value(random)
            return hue, self.value(random) if canvas.chance(self.per_channel) else hue
        if self.value_hue is self.value_saturation is None:
            return Draw(-40, 40, (), True)(random), Draw(-40, 40, (), True)(random)
        hue = self.value_hue(random) if self.value_hue else 0
        return hue, self.value_saturation(random) if self.value_saturation else 0


def _in_hsv(hues: Array, saturations: Array) -> Change:
    """A table for hue and one for saturation."""

    def change(pixels: Array) -> Array:
        converted = cv2.cvtColor(pixels, cv2.COLOR_RGB2HSV)
        for channel, table in ((0, hues), (1, saturations)):
            cv2.insertChannel(cv2.LUT(cv2.extractChannel(converted, channel), table), converted, channel)
        return np.asarray(cv2.cvtColor(converted, cv2.COLOR_HSV2RGB))

    return change
