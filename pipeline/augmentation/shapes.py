"""Where canvases lie on one another: matrices, resizing to the stored size, and painting what lies outside."""

from math import ceil, floor, hypot
from typing import NamedTuple

import cv2
import numpy as np

from cache.layout import Array

INSET = 0.65  # pixels by which OpenCV's smooth polygons are too large on every side
BITS = 8  # of a place's fraction
FARTHEST = 10_000.0  # pixels that a corner may lie outside


class Placed(NamedTuple):
    """A canvas of this shape, moved by a matrix [3, 3]; all around it is one colour."""

    shape: tuple[int, int]
    matrix: Array
    fill: tuple[float, ...]


def scaling(across: float, down: float) -> Array:
    """The matrix [3, 3] of places that are the middles of pixels."""
    return np.array([[across, 0, (across - 1) / 2], [0, down, (down - 1) / 2], [0, 0, 1.0]])


def to_size(image: Array, size: int) -> Array:
    """To [size, size, 3]; almost every output of a policy has its own size."""
    height, width = image.shape[:2]
    if (height, width) == (size, size):
        return image
    shrinks = min(height, width) >= size
    return np.asarray(cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC))


def paint_outside(pixels: Array, frame: Placed) -> Array:
    """uint8 [h, w, 3], written to, with what lies outside of a frame painted in its colour; partly covered pixels are
    mixed."""
    _, b, _, d, _, _, g, h, _ = frame.matrix.ravel().tolist()
    if abs(b) + abs(d) + abs(g) + abs(h) < 1e-9:
        (left, right), (top, bottom) = (_edges(frame, axis) for axis in (0, 1))
        _paint_rows(pixels, top, bottom, frame.fill)
        _paint_rows(pixels.transpose(1, 0, 2), left, right, frame.fill)
        return pixels
    mask = cv2.cvtColor(_mask(frame, pixels.shape[:2]), cv2.COLOR_GRAY2RGB)
    if not any(frame.fill):
        return np.asarray(cv2.multiply(pixels, mask, scale=1 / 255))
    cover = mask * np.float32(1 / 255)
    return np.asarray(np.rint(pixels * cover + np.array(frame.fill) * (1 - cover)).astype(np.uint8))


def _mask(frame: Placed, shape: tuple[int, int]) -> Array:
    """uint8 [h, w]: how much of each pixel lies inside of a frame."""
    height, width = frame.shape
    (a, b, _), (c, d, _), _ = (frame.matrix / frame.matrix[2, 2]).tolist()
    size = max(abs(a * d - b * c), 1e-6)
    right = min(INSET * hypot(b, d) / size, width / 2)
    down = min(INSET * hypot(a, c) / size, height / 2)
    across = (right - 0.5, width - 0.5 - right)
    along = (down - 0.5, height - 0.5 - down)
    corners = np.array([[across[x], along[y], 1.0] for x, y in ((0, 0), (1, 0), (1, 1), (0, 1))])
    places = corners @ frame.matrix.T
    if places[:, 2].min() <= 0.01:  # a corner lies behind whoever looks
        full = np.full(frame.shape, 255, dtype=np.uint8)
        return np.asarray(cv2.warpPerspective(full, frame.matrix, (shape[1], shape[0])))
    mask = np.zeros(shape, dtype=np.uint8)
    points = np.clip(places[:, :2] / places[:, 2:], -FARTHEST, FARTHEST)
    return np.asarray(cv2.fillConvexPoly(mask, np.rint(points * 2**BITS).astype(np.int32), 255, cv2.LINE_AA, BITS))


def _edges(frame: Placed, axis: int) -> list[float]:
    """Where a frame begins and ends along an axis (0: across), counted in pixels from the first one's outer edge."""
    scale = frame.matrix[axis, axis] / frame.matrix[2, 2]
    shift = frame.matrix[axis, 2] / frame.matrix[2, 2]
    length = frame.shape[1 - axis]
    return sorted((scale * -0.5 + shift + 0.5, scale * (length - 0.5) + shift + 0.5))


def _paint_rows(pixels: Array, start: float, end: float, fill: tuple[float, ...]) -> None:
    """Paint rows before a start and after an end, between which a row may lie in part."""
    count = len(pixels)
    first = min(max(floor(start + 1e-6), 0), count)
    last = min(max(ceil(end - 1e-6), 0), count)
    colour = fill[0] if len(set(fill)) == 1 else fill  # numpy writes one number much faster
    if first > 0:
        pixels[:first] = colour
    if last < count:
        pixels[last:] = colour
    for row, share in ((first, first + 1 - start), (last - 1, end - last + 1)):
        if first <= row < last and share < 1 - 1e-6:
            pixels[row] = pixels[row] * np.float32(share) + (np.array(fill, np.float32) * (1 - share) + 0.5)


def fill_box(pixels: Array, edges: tuple[float, float, float, float], values: Array) -> None:
    """Write values (scalars, [3] or [rows, columns, 1 or 3]) between top, left, bottom and right, in pixels.

    Pixels that lie in part between them are mixed.
    """
    top, left, bottom, right = edges
    rows = slice(floor(top + 1e-6), ceil(bottom - 1e-6))
    columns = slice(floor(left + 1e-6), ceil(right - 1e-6))
    hole = pixels[rows, columns]
    if all(abs(edge - round(edge)) < 1e-6 for edge in edges):
        hole[:] = values
        return
    cover = np.multiply.outer(_cover(rows, top, bottom), _cover(columns, left, right))[..., None]
    hole[:] = hole + cover * (values - hole.astype(np.float32)) + np.float32(0.5)


def box_shape(edges: tuple[float, float, float, float]) -> tuple[int, int]:
    """Rows and columns of pixels that a box of `fill_box` touches."""
    top, left, bottom, right = edges
    return ceil(bottom - 1e-6) - floor(top + 1e-6), ceil(right - 1e-6) - floor(left + 1e-6)


def _cover(pixels: slice, start: float, end: float) -> Array:
    """Which share of each pixel lies between two places."""
    places = np.arange(pixels.start, pixels.stop, dtype=np.float32)
    return np.asarray(np.minimum(places + 1, end) - np.maximum(places, start))
