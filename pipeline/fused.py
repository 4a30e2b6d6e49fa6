"""Steps of imgaug in a few calls of OpenCV: the same distribution of results as imgaug's own, many times as fast.

What a chain of geometric steps does to places is one matrix, so the picture is warped once, near the size that it is
stored in, instead of at each step's own. Steps have imgaug's names and arguments; others are refused.
"""

from collections.abc import Callable
from functools import cached_property
from typing import Annotated, Any, Literal

import cv2
import numpy as np
from pydantic import BeforeValidator, Field

from cache.layout import Array
from pipeline.params import Section, parse, unknown_name

FINER = 2  # times the stored size, at most, that pictures are warped to
BRIGHTNESS = {"YCrCb": 0, "HSV": 2, "HLS": 1, "Lab": 0, "Luv": 0, "YUV": 0}  # the channel that is brightness
LINEAR = 1 / 6  # variance of linear interpolation in pixels, over all places between two
BOX = 1 / 6  # what a finer canvas adds to the smoothing of making it smaller, fitted to what it does to fine detail
SPREAD = 0.67  # pixels by which OpenCV's smooth polygons are larger than they should be, measured
LEVELS = np.arange(256, dtype=np.float32)
CENTRE, NOISE = 127.5, 255 / 6  # of what imgaug fills cutouts with

Bounds = tuple[float, float]
Range = Annotated[Bounds, BeforeValidator(lambda value: [value, value] if isinstance(value, int | float) else value)]


class Canvas:
    """A picture on its way through the steps.

    pixels: uint8 [h, w, 3], warped as far as `matrix` [3, 3] is still owed, from their places to those of the canvas.
    shape: height and width that the canvas has in imgaug. frames: shapes of earlier canvases, outside of which all is
    black, and what has moved them since. finest: the size that pixels are warped to at most. blur: variance of what
    imgaug's own warps would have smoothed, in pixels of the canvas. area: pixels of the canvas in one of `pixels`.
    later: what is owed to each pixel by itself, and costs least at the size that the picture is stored in.
    """

    def __init__(self, pixels: Array, finest: int, random: np.random.Generator) -> None:
        self.pixels, self.finest, self.random = pixels, finest, random
        self.shape: tuple[int, int] = pixels.shape[:2]
        self.matrix: Array | None = None
        self.frames: list[tuple[tuple[int, int], Array]] = []
        self.later: list[Callable[[Array], Array]] = []
        self.cubic, self.warped, self.blur, self.area = False, False, 0.0, 1.0

    def uniform(self, bounds: Bounds, count: int | None = None) -> Any:
        return self.random.uniform(*bounds, count)

    def move(self, step: Array, shape: tuple[int, int], framed: bool = False, warps: bool = False) -> None:
        """Owe one more matrix. framed: what lies outside of the canvas now may come into the new one, and is black.

        warps: imgaug interpolates here; the first time of a picture is smoothed by the warp that is owed.
        """
        if self.later:
            self.draw()
        if framed:
            self.frames.append((self.shape, np.eye(3)))
        if self.matrix is None:
            drawn = self.pixels.shape[:2]
            self.matrix = scaling(self.shape[1] / drawn[1], self.shape[0] / drawn[0])
        self.matrix, self.shape = step @ self.matrix, shape
        self.frames = [(shape, step @ since) for shape, since in self.frames]
        self.blur += LINEAR if warps and self.warped else 0.0
        self.warped = self.warped or warps

    def draw(self) -> Array:
        """Pay all that is owed; the pixels, which may be written to."""
        self._warp()
        for change in self.later:
            self.pixels = change(self.pixels)
        self.later = []
        return self.pixels

    def stored(self, size: int) -> Array:
        """The same, in the size that the picture is stored in."""
        self._warp()
        self.pixels = to_size(self.pixels, size)
        return self.draw()

    def _warp(self) -> None:
        if self.matrix is None:
            return
        height, width = (min(side, self.finest) for side in self.shape)
        last = scaling(width / self.shape[1], height / self.shape[0])
        pixels, zoom = self.pixels, round(height / self.pixels.shape[0])
        ratio = height / self.shape[0]
        smooth = self.blur * ratio**2 + (1 - ratio**2) * BOX
        if self.cubic and zoom > 1:  # enlarged first, which is cheaper, and smoothed by a linear warp from there
            pixels = cv2.resize(pixels, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_CUBIC)
            smooth -= LINEAR * (height / len(pixels)) ** 2
        pixels = cv2.copyMakeBorder(pixels, 1, 1, 1, 1, cv2.BORDER_REPLICATE)  # a warp's own replication is slow
        drawn = scaling(self.pixels.shape[1] / (pixels.shape[1] - 2), self.pixels.shape[0] / (len(pixels) - 2))
        matrix = last @ self.matrix @ drawn @ np.array([[1.0, 0, -1], [0, 1, -1], [0, 0, 1]])
        flags = cv2.INTER_CUBIC if self.cubic and zoom <= 1 else cv2.INTER_LINEAR
        self.pixels = cv2.warpPerspective(pixels, matrix, (width, height), flags=flags)
        if smooth > 0:
            taps = np.array([smooth / 2, 1 - smooth, smooth / 2])
            self.pixels = cv2.sepFilter2D(self.pixels, -1, taps, taps)
        self._frame(height, width, last)
        self.area = self.shape[0] * self.shape[1] / (height * width)
        self.matrix, self.frames, self.warped, self.blur = None, [], False, 0.0

    def _frame(self, height: int, width: int, last: Array) -> None:
        """Black outside of all frames."""
        inset = SPREAD * self.shape[0] / height - 0.5
        seen: Array = np.empty((0, 1, 2))
        for number, ((below, across), since) in enumerate(self.frames):
            bottom, right = below - 1 - inset, across - 1 - inset
            corners = np.array([[inset, inset, 1], [right, inset, 1], [right, bottom, 1], [inset, bottom, 1]])
            corners = corners @ (last @ since).T
            places = (corners[:, :2] / corners[:, 2:]).astype(np.float32)
            seen = np.asarray(cv2.intersectConvexConvex(seen, places)[1]) if number else places
        if self.frames:
            mask = np.zeros((height, width, 3), dtype=np.uint8)
            cv2.fillConvexPoly(mask, np.rint(16 * seen).astype(np.int32), (255, 255, 255), cv2.LINE_AA, shift=4)
            cv2.multiply(self.pixels, mask, self.pixels, 1 / 255)


def to_size(image: Array, size: int) -> Array:
    """To [size, size, 3]: almost every output of a policy has its own size."""
    if image.shape[:2] == (size, size):
        return image
    shrinks = image.shape[0] >= size and image.shape[1] >= size
    return np.asarray(cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC))


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


def scaling(across: float, down: float) -> Array:
    """Of places that are the middles of pixels."""
    return np.array([[across, 0, (across - 1) / 2], [0, down, (down - 1) / 2], [0, 0, 1.0]])


class Step(Section):
    """A step with the name and the arguments of imgaug's augmenter."""

    def __call__(self, canvas: Canvas) -> None:
        raise NotImplementedError


class Resize(Step):
    """To a square."""

    size: int = Field(ge=1)
    interpolation: Literal["linear", "cubic"]

    def __call__(self, canvas: Canvas) -> None:
        height, width = canvas.shape
        canvas.move(scaling(self.size / width, self.size / height), (self.size, self.size), warps=True)
        canvas.blur *= (self.size / height) ** 2
        canvas.cubic = self.interpolation == "cubic"


class SomeOf(Step):
    """One of the children."""

    n: Literal[1]
    children: list[dict[str, dict[str, Any]]] = Field(min_length=1)

    @cached_property
    def steps(self) -> "list[Step]":
        return [make_step(child) for child in self.children]

    def __call__(self, canvas: Canvas) -> None:
        self.steps[canvas.random.integers(len(self.steps))](canvas)


class Rotate(Step):
    """About the middle, in degrees; what comes in is black."""

    rotate: Range

    def __call__(self, canvas: Canvas) -> None:
        (height, width), angle = canvas.shape, np.deg2rad(canvas.uniform(self.rotate))
        across, down, sine, cosine = (width - 1) / 2, (height - 1) / 2, np.sin(angle), np.cos(angle)
        turned = [[cosine, -sine, across - cosine * across + sine * down]]
        turned += [[sine, cosine, down - sine * across - cosine * down], [0, 0, 1]]
        canvas.move(np.array(turned), canvas.shape, framed=True, warps=True)


class PerspectiveTransform(Step):
    """What lies between four points near the corners becomes the whole picture."""

    scale: Range
    keep_size: Literal[False]

    def __call__(self, canvas: Canvas) -> None:
        height, width = canvas.shape
        inward = np.abs(canvas.random.normal(0, canvas.uniform(self.scale), (4, 2))) % 1 * (1, 1)
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

    percent: Range
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
    size: Range
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

    p: float

    def __call__(self, canvas: Canvas) -> None:
        if canvas.random.random() < self.p:
            canvas.later.append(lambda pixels: np.asarray(cv2.flip(pixels, 1)))


class Flipud(Step):
    """Upside down."""

    p: float

    def __call__(self, canvas: Canvas) -> None:
        if canvas.random.random() < self.p:
            canvas.later.append(lambda pixels: np.asarray(cv2.flip(pixels, 0)))


class MultiplyAndAddToBrightness(Step):
    """In a colour space drawn from six, in either order."""

    mul: Range
    add: tuple[int, int]

    def __call__(self, canvas: Canvas) -> None:
        space = list(BRIGHTNESS)[canvas.random.integers(len(BRIGHTNESS))]
        factor, more = canvas.uniform(self.mul), canvas.random.integers(self.add[0], self.add[1] + 1)
        if canvas.random.random() < 0.5:
            table = np.clip(LEVELS + more, 0, 255) * factor
        else:
            table = np.floor(np.clip(LEVELS * factor, 0, 255)) + more
        canvas.later.append(in_space(space, look_up(table, BRIGHTNESS[space])))


class LinearContrast(Step):
    """About 127, all channels alike or, with probability per_channel, each by its own factor."""

    alpha: Range
    per_channel: float

    def __call__(self, canvas: Canvas) -> None:
        alphas = canvas.uniform(self.alpha, 3 if canvas.random.random() < self.per_channel else 1)
        table = 127 + alphas * (LEVELS[:, None] - 127)
        canvas.later.append(look_up(table if len(alphas) == 3 else table[:, 0]))


class AdditiveGaussianNoise(Step):
    """The same in all channels or, with probability per_channel, each its own."""

    loc: float
    scale: Range
    per_channel: float

    def __call__(self, canvas: Canvas) -> None:
        pixels = canvas.draw()
        channels = 3 if canvas.random.random() < self.per_channel else 1
        scale = canvas.uniform(self.scale) / canvas.area**0.5
        noise = np.rint(scale * canvas.random.standard_normal((*pixels.shape[:2], channels), np.float32) + self.loc)
        canvas.pixels = np.clip(pixels + noise, 0, 255).astype(np.uint8)


class AddToHueAndSaturation(Step):
    """Each its own number; hue is a circle of 255."""

    value: tuple[int, int]
    per_channel: Literal[True]

    def __call__(self, canvas: Canvas) -> None:
        hue, saturation = canvas.random.integers(self.value[0], self.value[1] + 1, 2)
        tables = np.stack([(LEVELS + int(hue / 255 * 180)) % 180, LEVELS + saturation, LEVELS], axis=1)
        canvas.pixels = in_space("HSV", look_up(tables))(canvas.draw())  # cut off at 0, which cannot be done later


STEPS = {kind.__name__: kind for kind in Step.__subclasses__()}


def make_step(step: dict[str, dict[str, Any]]) -> Step:
    """One `{Name: {arguments}}`. Raises ParamsError for a step or an argument that cannot be fused."""
    ((name, arguments),) = step.items()
    if name not in STEPS:
        raise unknown_name("a step that can be fused", name, list(STEPS))
    return parse(STEPS[name], arguments, name, "")


def fused(steps: list[dict[str, dict[str, Any]]], size: int) -> Callable[[Array, np.random.Generator], Array]:
    """A function of (uint8 [h, w, 3], generator) for pictures that will be stored in this size."""
    cv2.setNumThreads(1)
    made = [make_step(step) for step in steps]

    def augment(image: Array, generator: np.random.Generator) -> Array:
        canvas = Canvas(image, FINER * size, generator)
        for step in made:
            step(canvas)
        return canvas.stored(size)

    return augment
