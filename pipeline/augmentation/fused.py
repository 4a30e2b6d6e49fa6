"""Steps of imgaug in a few calls of OpenCV: the same distribution of results as imgaug's own, several times as fast.

What a chain of geometric steps does to places is one matrix, so the picture is warped once, near the size that it is
stored in, instead of at each step's own. Steps have imgaug's names and arguments; others, values that imgaug treats in
a special way, and geometric steps after others are refused.
"""

from collections.abc import Callable
from functools import cached_property
from typing import Annotated, Any, Literal

import cv2
import numpy as np
from pydantic import BeforeValidator, Field

from cache.errors import ParamsError
from cache.layout import Array
from pipeline.augmentation.canvas import Canvas, in_space, look_up, scaling
from pipeline.config.shared.section import Section, parse, unknown_name

BRIGHTNESS = {"YCrCb": 0, "HSV": 2, "HLS": 1, "Lab": 0, "Luv": 0, "YUV": 0}  # the channel that is brightness
LEVELS = np.arange(256, dtype=np.float32)
CENTRE, NOISE = 127.5, 255 / 6  # of what imgaug fills cutouts with

Pair = BeforeValidator(lambda value: [value, value] if isinstance(value, int | float) else value)
Angle = Annotated[float, Field(ge=-360, le=360)]
Share = Annotated[float, Field(ge=0, le=1)]
Inward = Annotated[float, Field(ge=0, le=0.15)]  # beyond it corners may cross
Side = Annotated[float, Field(gt=-0.5, le=1)]  # more would cut everything off
Factor = Annotated[float, Field(ge=0, le=10)]
Level = Annotated[float, Field(ge=-255, le=255)]
WholeLevel = Annotated[int, Field(ge=-255, le=255)]
Deviation = Annotated[float, Field(ge=0, le=255)]


class Step(Section):
    """A step with the name and the arguments of imgaug's augmenter."""

    def __call__(self, canvas: Canvas) -> None:
        raise NotImplementedError


class Resize(Step):
    """To a square; before all others."""

    size: int = Field(ge=1)
    interpolation: Literal["linear", "cubic"]

    def __call__(self, canvas: Canvas) -> None:
        height, width = canvas.shape
        shape, cubic = (self.size, self.size), self.interpolation == "cubic"
        if self.size < max(height, width):
            flags = cv2.INTER_CUBIC if cubic else cv2.INTER_LINEAR
            canvas.pixels, canvas.shape = np.asarray(cv2.resize(canvas.pixels, shape, interpolation=flags)), shape
        elif shape != (height, width):
            canvas.move(scaling(self.size / width, self.size / height), shape, warps=True)
            canvas.cubic = cubic


class SomeOf(Step):
    """One of several ways to resize."""

    n: Literal[1]
    children: list[dict[str, dict[str, Any]]] = Field(min_length=1)

    @cached_property
    def steps(self) -> list[Step]:
        for child in self.children:
            if "Resize" not in child:
                raise unknown_name("SomeOf.children that can be fused", ", ".join(child), ["Resize"])
        return [make_step(child) for child in self.children]

    def __call__(self, canvas: Canvas) -> None:
        self.steps[canvas.random.integers(len(self.steps))](canvas)


class Rotate(Step):
    """About the middle, in degrees; what comes in is black."""

    rotate: Annotated[tuple[Angle, Angle], Pair]

    def __call__(self, canvas: Canvas) -> None:
        (height, width), angle = canvas.shape, np.deg2rad(canvas.uniform(self.rotate))
        across, down, sine, cosine = (width - 1) / 2, (height - 1) / 2, np.sin(angle), np.cos(angle)
        turned = [[cosine, -sine, across - cosine * across + sine * down]]
        turned += [[sine, cosine, down - sine * across - cosine * down], [0, 0, 1]]
        canvas.move(np.array(turned), canvas.shape, framed=True, warps=True)


class PerspectiveTransform(Step):
    """What lies between four points near the corners becomes the whole picture."""

    scale: Annotated[tuple[Inward, Inward], Pair]
    keep_size: Literal[False]

    def __call__(self, canvas: Canvas) -> None:
        height, width = canvas.shape
        inward = np.abs(canvas.random.normal(0, canvas.uniform(self.scale), (4, 2))) % 1
        corners = np.where([[False, False], [True, False], [True, True], [False, True]], 1 - inward, inward)
        corners = _ordered((corners * (width, height)).astype(np.float32))
        left_top, right_top, right_bottom, left_bottom = corners
        across = max(np.linalg.norm(right_top - left_top), np.linalg.norm(right_bottom - left_bottom))
        down = max(np.linalg.norm(right_top - right_bottom), np.linalg.norm(left_top - left_bottom))
        size = (max(2, int(down)), max(2, int(across)))
        goal = np.array([[0, 0], [size[1], 0], [size[1], size[0]], [0, size[0]]], dtype=np.float32)
        canvas.move(cv2.getPerspectiveTransform(corners, goal), size, warps=True)


def _ordered(corners: Array) -> Array:
    """Left top, right top, right bottom, left bottom, as imgaug tells them."""
    sums, differences = corners.sum(axis=1), corners[:, 1] - corners[:, 0]
    return corners[[sums.argmin(), differences.argmin(), sums.argmax(), differences.argmax()]]


class CropAndPad(Step):
    """Shares of the sides are cut off, or added in black."""

    percent: Annotated[tuple[Side, Side], Pair]
    keep_size: Literal[False]

    def __call__(self, canvas: Canvas) -> None:
        height, width = canvas.shape
        sides = np.round(canvas.uniform(self.percent, 4) * (height, width, height, width)).astype(int)
        top, right, bottom, left = sides.tolist()
        shape = (max(1, height + top + bottom), max(1, width + left + right))
        canvas.move(np.array([[1.0, 0, left], [0, 1, top], [0, 0, 1]]), shape, framed=bool((sides > 0).any()))


class Cutout(Step):
    """Rectangles of grey noise."""

    fill_mode: Literal["gaussian"]
    nb_iterations: int = Field(ge=0)
    size: Annotated[tuple[Share, Share], Pair]
    squared: Literal[False]

    def __call__(self, canvas: Canvas) -> None:
        pixels = canvas.draw()
        height, width, _ = pixels.shape
        for _ in range(self.nb_iterations):
            across, down = canvas.uniform((0, 1), 2)
            tall, wide = canvas.uniform(self.size, 2) / 2
            rows = slice(max(0, int((down - tall) * height)), max(0, int((down + tall) * height)))
            columns = slice(max(0, int((across - wide) * width)), max(0, int((across + wide) * width)))
            hole = pixels[rows, columns]
            noise = canvas.random.standard_normal((*hole.shape[:2], 1), np.float32)
            hole[:] = np.clip(NOISE / canvas.area**0.5 * noise + CENTRE, 0, 255)


class Fliplr(Step):
    """Mirrored left to right."""

    p: Share

    def __call__(self, canvas: Canvas) -> None:
        if canvas.random.random() < self.p:
            canvas.later.append(lambda pixels: np.asarray(cv2.flip(pixels, 1)))


class Flipud(Step):
    """Upside down."""

    p: Share

    def __call__(self, canvas: Canvas) -> None:
        if canvas.random.random() < self.p:
            canvas.later.append(lambda pixels: np.asarray(cv2.flip(pixels, 0)))


class MultiplyAndAddToBrightness(Step):
    """In a colour space drawn from six, in either order."""

    mul: Annotated[tuple[Factor, Factor], Pair]
    add: Annotated[tuple[Level, Level], Pair]

    def __call__(self, canvas: Canvas) -> None:
        space = list(BRIGHTNESS)[canvas.random.integers(len(BRIGHTNESS))]
        factor, more = canvas.uniform(self.mul), np.rint(canvas.uniform(self.add))
        if canvas.random.random() < 0.5:
            table = np.clip(LEVELS + more, 0, 255) * factor
        else:
            table = np.floor(np.clip(LEVELS * factor, 0, 255)) + more
        canvas.later.append(in_space(space, look_up(table, BRIGHTNESS[space])))


class LinearContrast(Step):
    """About 127, all channels alike or, with probability per_channel, each by its own factor."""

    alpha: Annotated[tuple[Factor, Factor], Pair]
    per_channel: Share

    def __call__(self, canvas: Canvas) -> None:
        alphas = canvas.uniform(self.alpha, 3 if canvas.random.random() < self.per_channel else 1)
        table = 127 + alphas * (LEVELS[:, None] - 127)
        canvas.later.append(look_up(table if len(alphas) == 3 else table[:, 0]))


class AdditiveGaussianNoise(Step):
    """The same in all channels or, with probability per_channel, each its own."""

    loc: Level
    scale: Annotated[tuple[Deviation, Deviation], Pair]
    per_channel: Share

    def __call__(self, canvas: Canvas) -> None:
        pixels = canvas.draw()
        channels = 3 if canvas.random.random() < self.per_channel else 1
        scale = canvas.uniform(self.scale) / canvas.area**0.5
        noise = np.rint(scale * canvas.random.standard_normal((*pixels.shape[:2], channels), np.float32) + self.loc)
        canvas.pixels = np.clip(pixels + noise, 0, 255).astype(np.uint8)


class AddToHueAndSaturation(Step):
    """Each its own number; hue is a circle of 255."""

    value: tuple[WholeLevel, WholeLevel]
    per_channel: Literal[True]

    def __call__(self, canvas: Canvas) -> None:
        hue, saturation = canvas.random.integers(self.value[0], self.value[1] + 1, 2)
        tables = np.stack([(LEVELS + int(hue / 255 * 180)) % 180, LEVELS + saturation, LEVELS], axis=1)
        canvas.pixels = in_space("HSV", look_up(tables))(canvas.draw())  # cut off at 0, which cannot be done later


STEPS = {kind.__name__: kind for kind in Step.__subclasses__()}
FIRST, GEOMETRIC = (Resize, SomeOf), (Rotate, PerspectiveTransform, CropAndPad)


def make_step(step: dict[str, dict[str, Any]]) -> Step:
    """One `{Name: {arguments}}`. Raises ParamsError for a step or an argument that cannot be fused."""
    ((name, arguments),) = step.items()
    if name not in STEPS:
        raise unknown_name("a step that can be fused", name, list(STEPS))
    return parse(STEPS[name], arguments, name, "")


def fused(steps: list[dict[str, dict[str, Any]]], size: int) -> Callable[[Array, np.random.Generator], Array]:
    """A function of (uint8 [h, w, 3], generator) for pictures that will be stored in this size.

    Raises ParamsError where the steps are not in an order that can be fused.
    """
    cv2.setNumThreads(1)
    made = [make_step(step) for step in steps]
    kinds = [0 if isinstance(one, FIRST) else 1 if isinstance(one, GEOMETRIC) else 2 for one in made]
    moves = [type(one) for one in made if isinstance(one, GEOMETRIC)]
    if kinds != sorted(kinds) or kinds.count(0) > 1 or len(set(moves)) < len(moves):
        expected = "Resize, then geometric steps, each once, then all others"
        raise ParamsError(
            "order cannot be fused", expected=expected, found=", ".join(name for one in steps for name in one)
        )

    def augment(image: Array, generator: np.random.Generator) -> Array:
        canvas = Canvas(image, size, generator)
        for step in made:
            step(canvas)
        return canvas.stored()

    return augment
