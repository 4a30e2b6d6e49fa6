"""An image on its way through the steps of a policy: geometry is owed as one warp, changes of values as one table.

Places are those of OpenCV: whole numbers are the middles of pixels.
"""

from collections.abc import Callable
from math import sqrt
from typing import NamedTuple

import cv2
import numpy as np

from cache.layout import Array
from pipeline.augmentation.detail import ROUNDING, Detail, density, keeps_grid
from pipeline.augmentation.shapes import Placed, paint_outside, scaling, to_size

FINE = 1.5  # source pixels per pixel drawn: beyond it more pixels are drawn, and averaged
MUCH_LARGER = 2.25  # times the stored area: values of a canvas beyond it are changed after it is made smaller
SHARP = 0.75  # source pixels per pixel drawn: below it OpenCV's own border would be too soft
SMALL = 128  # pixels of a side: on larger images nobody can tell whether an edge is smoothed
RIM = 2  # pixels that go on outside of an edge which is then painted over
NOTHING = np.eye(3)

Change = Callable[[Array], Array]


class Edge(NamedTuple):
    """What lies outside of an image: a border type of OpenCV, and the colour of BORDER_CONSTANT."""

    mode: int
    fill: tuple[float, ...] = (0, 0, 0)


class Canvas:
    """Pixels, and what is owed to them.

    pixels: uint8 [h, w, 3]. shape: height and width that the canvas has in imgaug. matrix [3, 3]: from places of the
    pixels to those of the canvas. edge: what lies outside of the pixels. frames: earlier canvases, outside of which
    is one colour. spacings: of the pixels between which imgaug would have interpolated, one for each time, in pixels of
    `pixels`. owed: changes of values, in order. rest_is_free: whether no later step depends on the canvas' resolution
    or moves it.
    """

    def __init__(self, pixels: Array, size: int, random: np.random.Generator) -> None:
        self.source = self.pixels = pixels
        self.size = size
        self.random = random
        self.owed: list[Change | Array] = []
        self.rest_is_free = False
        self._reset(pixels)

    def _reset(self, pixels: Array) -> None:
        self.pixels = pixels
        self.shape: tuple[int, int] = pixels.shape[:2]
        self._settle()

    def _settle(self) -> None:
        self.matrix = NOTHING
        self.is_pending = False
        self.is_whole = True  # its borders are those of the pixels
        self.edge: Edge | None = None
        self.frames: list[Placed] = []
        self.spacings: list[float] = []

    def chance(self, probability: float) -> bool:
        """True with this probability."""
        return probability >= 1 or (probability > 0 and self.random.random() < probability)

    def change(self, change: Change | Array) -> None:
        """Owe a change of values: a function of pixels, or a table uint8 [256] or [1, 256, 3]; tables are joined."""
        if isinstance(change, np.ndarray) and self.owed and isinstance(last := self.owed[-1], np.ndarray):
            self.owed[-1] = _joined(last, change)
        else:
            self.owed.append(change)

    def replace(self, pixels: Array) -> None:
        """Go on with pixels that were made from those that `draw` gave."""
        self._reset(pixels)

    def resize(self, shape: tuple[int, int]) -> None:
        """Owe a linear enlargement."""
        self._owe(scaling(shape[1] / self.shape[1], shape[0] / self.shape[0]), shape, interpolates=True)

    def resize_smooth(self, shape: tuple[int, int]) -> None:
        """Owe the rest of a cubic enlargement, which smooths no further."""
        height, width = self.shape
        self._owe(scaling(shape[1] / width, shape[0] / height), shape, interpolates=False)

    def move(self, step: Array, shape: tuple[int, int], edge: Edge | None = None, interpolates: bool = True) -> None:
        """Owe a matrix [3, 3] that leads to a canvas of this shape.

        edge: what comes in from outside; None if nothing does. interpolates: False if pixels are moved by whole ones.
        """
        if edge is not None:
            self._have_edge(edge)
        self._owe(step, shape, interpolates)
        self.is_whole = False

    def turn(self, step: Array, shape: tuple[int, int], change: Change) -> None:
        """Owe a mirror image or quarter turns: in the warp if one is owed, else by OpenCV."""
        if self.is_pending:
            self._owe(step, shape, interpolates=False)
        else:
            self.pixels = change(self.pixels)
            self.shape = shape

    def _owe(self, step: Array, shape: tuple[int, int], interpolates: bool) -> None:
        if interpolates:
            self.spacings.append(round(ROUNDING / sqrt(density(self.matrix, self.pixels.shape))) / ROUNDING)
        self.matrix = step @ self.matrix
        self.frames = [frame._replace(matrix=step @ frame.matrix) for frame in self.frames]
        self.shape = shape
        self.is_pending = True

    def _have_edge(self, edge: Edge) -> None:
        if edge.mode != cv2.BORDER_CONSTANT:
            if not self.is_whole:
                self.draw()
            self.edge = edge
            return
        if self.owed:  # it changes what is inside, not what comes in
            self._pay_early() if self._is_large or not self.is_pending else self.draw()
        if self.is_whole:
            self.edge = edge
        else:
            self.frames.append(Placed(self.shape, NOTHING, edge.fill))

    def draw(self) -> Array:
        """Pay all that is owed, in the canvas' own resolution; the pixels."""
        if self.is_pending:
            self._reset(self._resampled(*self.shape))
        self._pay()
        return self.pixels

    def draw_small(self) -> Array:
        """Pay all that is owed, in the stored size if that is smaller and nothing that follows needs more; writable."""
        if self.rest_is_free and self.is_pending and self._shrinks:
            self._shrink()
        self.draw()
        return self.writable()

    def writable(self) -> Array:
        """The pixels, copied if they are still those of the source."""
        if np.may_share_memory(self.pixels, self.source):
            self.pixels = self.pixels.copy()
        return self.pixels

    def stored(self) -> Array:
        """Pay all that is owed; uint8 [size, size, 3]."""
        if self.is_pending and self._shrinks:
            self._shrink()
        elif not self._is_large:
            self.draw()
        self.pixels = to_size(self.pixels, self.size)
        self._pay()
        return self.pixels

    @property
    def _shrinks(self) -> bool:
        return min(self.shape) >= self.size

    @property
    def _is_large(self) -> bool:
        """Whether values had better be changed while the canvas is small."""
        height, width = self.shape
        return self._shrinks and height * width >= MUCH_LARGER * self.size**2

    def _shrink(self) -> None:
        """Pay what is owed, in the stored size; `shape` stays that of the canvas."""
        if self._is_large:
            self._pay_early()
        self.pixels = self._resampled(self.size, self.size)
        self._settle()
        self._pay()

    def _pay(self) -> None:
        self.pixels = _changed(self.pixels, self.owed)
        self.owed = []

    def _pay_early(self) -> None:
        """Change the source and all that is painted around it, so that what is averaged later has been changed."""
        if not self.owed:
            return
        if self.edge is not None:
            self.edge = self.edge._replace(fill=self._painted(self.edge.fill))
        self.frames = [frame._replace(fill=self._painted(frame.fill)) for frame in self.frames]
        self._pay()

    def _painted(self, fill: tuple[float, ...]) -> tuple[float, ...]:
        return tuple(_changed(np.array([[fill]], dtype=np.uint8), self.owed)[0, 0].tolist())

    def _resampled(self, height: int, width: int) -> Array:
        """One warp to this shape, which is the canvas' own or, for storing, a smaller one that averages over it."""
        last = scaling(width / self.shape[1], height / self.shape[0])
        matrix = last @ self.matrix
        area = 1 / density(matrix, self.pixels.shape)  # of one pixel drawn, in pixels of the source
        averaged = max(1.0, self.shape[0] * self.shape[1] / (height * width))
        finer = 1 if averaged == 1 or area < FINE**2 else 2 if area < (2 * FINE) ** 2 else 4  # passes over no pixel
        warp = scaling(finer, finer) @ matrix
        detail = Detail.of(area, averaged, finer, keeps_grid(warp))
        kernel = detail.kernel(tuple(self.spacings))
        frames = [frame._replace(matrix=last @ frame.matrix) for frame in self.frames]
        pixels = self.pixels
        edge = self.edge or Edge(cv2.BORDER_REPLICATE)
        is_soft = kernel is not None and min(height, width) < SMALL
        if edge.mode == cv2.BORDER_CONSTANT and (is_soft or area < SHARP**2):
            frames.insert(0, Placed(pixels.shape[:2], matrix, edge.fill))
            pixels = cv2.copyMakeBorder(pixels, RIM, RIM, RIM, RIM, cv2.BORDER_REPLICATE)
            warp = warp @ np.array([[1.0, 0, -RIM], [0, 1, -RIM], [0, 0, 1]])
        if kernel is not None:
            pixels = cv2.sepFilter2D(pixels, -1, kernel, kernel)
        drawn = cv2.warpPerspective(
            pixels, warp, (finer * width, finer * height), borderMode=edge.mode, borderValue=edge.fill
        )
        if finer > 1:
            drawn = cv2.resize(drawn, (width, height), interpolation=cv2.INTER_AREA)
        for frame in frames:
            drawn = paint_outside(np.asarray(drawn), frame)
        return np.asarray(drawn)


def _changed(pixels: Array, changes: list[Change | Array]) -> Array:
    for change in changes:
        pixels = np.asarray(cv2.LUT(pixels, change)) if isinstance(change, np.ndarray) else change(pixels)
    return pixels


def _joined(first: Array, second: Array) -> Array:
    """One table that does what two do one after the other."""
    if second.ndim == 1:
        return second[first]
    columns = first if first.ndim == 3 else np.repeat(first[None, :, None], 3, axis=2)
    return np.take_along_axis(second, columns.astype(np.intp), axis=1)
