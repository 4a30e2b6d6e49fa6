"""Steps of imgaug in a few calls of OpenCV: the same distribution of results as imgaug's own, several times as fast.

What a chain of geometric steps does to places is one matrix, so the picture is warped once, near the size that it is
stored in, instead of at each step's own. Steps have imgaug's names and arguments; others, values that imgaug treats in
a special way, and geometric steps after others are refused.
"""

from collections.abc import Callable
from functools import cached_property
from math import ceil
from typing import Annotated, Any, Literal

import cv2
import numpy as np
from pydantic import BeforeValidator, Field

from cache.errors import ParamsError
from cache.layout import Array
from pipeline.params import Section, parse, unknown_name

FINER = 2  # times the stored size that pictures are warped to, or the source's size, or half of the canvas'
NEARLY = 1.5  # times that size: a canvas that is hardly larger is not made smaller
LINEAR = 1 / 6  # variance of linear interpolation in pixels, over all places between two
BOX = 1 / 6  # what a finer canvas adds to the smoothing of making it smaller, fitted to what it does to fine detail
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
    repeats = sum(kind < 2 for kind in kinds) - len({type(one) for one in made if isinstance(one, FIRST + GEOMETRIC)})
    if kinds != sorted(kinds) or kinds.count(0) > 1 or repeats:
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
