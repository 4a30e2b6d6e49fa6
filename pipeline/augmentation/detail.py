"""How sharp a warp leaves an image: one warp in place of several is smoothed as much as they would have done.

A smoothing is told by its response, by which it multiplies waves of a length of four and of two pixels. Interpolating
linearly at places that lie anyhow between pixels leaves a wave's power at (2 + cos w) / 3 on average, w radians per
pixel.
"""

from functools import lru_cache
from math import cos, pi, prod, sin, sqrt
from typing import NamedTuple

import numpy as np

from cache.layout import Array

WAVES = (pi / 2, 0.97 * pi)  # radians per pixel; at pi itself a mean may leave nothing to compare

ROUNDING = 64  # parts of a pixel that spacings are rounded to
LEAST = 1e-3  # power that nobody misses


class Detail(NamedTuple):
    """What a warp does to detail.

    spacing: pixels of the canvas, in those of the source. averaged: pixels of the canvas in one that is drawn.
    finer: times along each axis that more pixels are drawn first. keeps_grid: nothing is interpolated.
    """

    spacing: float
    averaged: float
    finer: int
    keeps_grid: bool

    @classmethod
    def of(cls, area: float, averaged: float, finer: int, keeps_grid: bool) -> "Detail":
        """From the pixels of the source in one that is drawn. Rounded, so that many images share one kernel."""
        spacing = max(1, round(sqrt(area / averaged) * ROUNDING)) / ROUNDING
        is_square = abs(sqrt(averaged) - round(sqrt(averaged))) < 1e-6
        return cls(spacing, averaged if is_square else round(averaged, 1), finer, keeps_grid)

    @lru_cache(maxsize=4096)  # noqa: B019 - tuples of numbers
    def kernel(self, spacings: tuple[float, ...]) -> Array | None:
        """The kernel [5] that gives the source the smoothing that the warp lacks; None if it lacks none.

        spacings: of the pixels between which imgaug would have interpolated.
        """
        if self.averaged == 1 and spacings == (() if self.keeps_grid else (1.0,)):
            return None
        long, short = (
            min(1.2, sqrt((self._wanted(wave, spacings) + LEAST) / (self._own(wave) + LEAST))) for wave in WAVES
        )
        if max(abs(1 - long), abs(1 - short)) < 0.02:
            return None
        return _taps(long, short)

    def _wanted(self, wave: float, spacings: tuple[float, ...]) -> float:
        """The power that imgaug's way leaves of a wave: one interpolation among source pixels, then others."""
        others = list(spacings)
        if is_interpolated := 1.0 in others:
            others.remove(1.0)
        power = _power(wave, is_interpolated, Mean(self.spacing, sqrt(self.averaged)), self.keeps_grid)
        return power * prod((2 + cos(wave * spacing)) / 3 for spacing in others)

    def _own(self, wave: float) -> float:
        """The power that the warp leaves."""
        step = self.spacing * sqrt(self.averaged) / self.finer
        return _power(wave, not self.keeps_grid, Mean(step, self.finer), self.keeps_grid)


class Mean(NamedTuple):
    """The mean of so many pixels side by side, at a spacing in pixels of the source.

    If their number is not whole, pixels are averaged in part, each as the square that it is.
    """

    spacing: float
    number: float

    @property
    def is_whole(self) -> bool:
        """Whether no pixel is averaged in part."""
        return abs(self.number - round(self.number)) < 1e-6

    def amplitude(self, wave: float) -> float:
        """What is left of a wave."""
        turn = wave * self.spacing / 2
        if self.number <= 1:
            return 1.0
        if self.is_whole:
            return sin(self.number * turn) / (self.number * sin(turn))
        return sin(self.number * turn) / (self.number * turn) * sin(turn) / turn

    def power(self, wave: float) -> float:
        """What is left of a wave's power, with that of its nearest alias among the pixels that are averaged."""
        power = self.amplitude(wave) ** 2
        if self.number > 1 and not self.is_whole:
            power += self.amplitude(abs(wave) - 2 * pi / self.spacing) ** 2
        return power


def _power(wave: float, is_interpolated: bool, averaged: Mean, keeps_grid: bool) -> float:
    """What linear interpolation and then a mean leave of a wave and of its aliases.

    Aliases add up if all pixels lie alike between those of the source, else their power does.
    """
    if not is_interpolated:
        return averaged.power(wave)
    aliases = (wave, wave - 2 * pi, wave + 2 * pi)
    kernels = [(sin(alias / 2) / (alias / 2)) ** 2 for alias in aliases]
    if keeps_grid and averaged.is_whole:
        return float(
            sum(kernel * averaged.amplitude(alias) for kernel, alias in zip(kernels, aliases, strict=True)) ** 2
        )
    return sum(kernel**2 * averaged.power(alias) for kernel, alias in zip(kernels, aliases, strict=True))


def _taps(long: float, short: float) -> Array:
    """The kernel [5] of a mean of 1 with these responses to waves of four and of two pixels."""
    near = (1 - short) / 4
    far = ((1 + short) / 2 - long) / 4
    return np.array([far, near, 1 - 2 * (near + far), near, far])


def density(matrix: Array, shape: tuple[int, ...]) -> float:
    """Pixels that one pixel of an image becomes under a projective map [3, 3], at the image's middle."""
    a, b, c, d, e, f, g, h, i = matrix.ravel().tolist()
    determinant = a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g)
    depth = g * shape[1] / 2 + h * shape[0] / 2 + i
    return float(max(abs(determinant / depth**3), 1e-6))


def keeps_grid(matrix: Array) -> bool:
    """Whether pixels come to lie on pixels."""
    numbers = matrix.ravel().tolist()
    turns = sum(abs(round(numbers[index])) for index in (0, 1, 3, 4))
    return turns == 2 and all(abs(number - round(number)) < 1e-6 for number in numbers)
