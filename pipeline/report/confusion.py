"""A confusion matrix that is readable for any number of classes: confused classes side by side, in blocks."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from cache.layout import Array
from pipeline.report.gallery import png_uri

NUMBERS = 20  # with up to this many classes the cells are numbers
BLOCKS = 12  # at most; more classes are grouped into blocks
SIDE = 720  # least side of the image in pixels
INK = (11, 98, 196)
OUTLINE = (128, 128, 128, 255)


@dataclass(frozen=True)
class Confusion:
    """Classes in an order that puts those side by side that are confused with each other.

    cells: int [c, c], actual by predicted. blocks: names of the classes of each block; a single one up to 20 classes.
    image: for more than 20 classes a data: URI with one square per cell, transparent if it counts nothing; else empty.
    """

    classes: tuple[str, ...]
    cells: Array
    blocks: tuple[tuple[str, ...], ...]
    image: str

    @property
    def rows(self) -> Iterable[tuple[str, list[tuple[int, float]]]]:
        """Each class with its cells: count, and share of the class's images."""
        totals = np.maximum(self.cells.sum(axis=1), 1)
        for name, row, total in zip(self.classes, self.cells, totals, strict=True):
            yield name, [(int(cell), float(cell / total)) for cell in row]


def make_confusion(pairs: Sequence[tuple[str, str]]) -> Confusion | None:
    """From actual and predicted class of each image; None without images."""
    if not pairs:
        return None
    names = sorted({name for pair in pairs for name in pair})
    numbers = {name: number for number, name in enumerate(names)}
    cells = np.zeros((len(names), len(names)), dtype=np.int64)
    actual = [numbers[name] for name, _ in pairs]
    predicted = [numbers[name] for _, name in pairs]
    np.add.at(cells, (actual, predicted), 1)
    if len(names) <= NUMBERS:
        return Confusion(tuple(names), cells, (tuple(names),), "")
    order, block = _order(cells)
    cells = cells[np.ix_(order, order)]
    ordered = [names[index] for index in order]
    starts = [0, *(np.flatnonzero(np.diff(block)) + 1).tolist(), len(ordered)]
    blocks = tuple(tuple(ordered[start:end]) for start, end in pairwise(starts))
    return Confusion(tuple(ordered), cells, blocks, _draw(cells, starts))


def _order(cells: Array) -> tuple[Array, Array]:
    """Class numbers in an order that puts the confused side by side, and the block of each position."""
    from scipy.cluster.hierarchy import fcluster, leaves_list, linkage
    from scipy.spatial.distance import squareform

    shares = cells / np.maximum(cells.sum(axis=1, keepdims=True), 1)
    alike = (shares + shares.T) / 2
    distances = squareform(1 - alike / max(1.0, float(alike.max())), checks=False)
    tree = linkage(distances, "average", optimal_ordering=len(cells) <= 500)
    order = np.asarray(leaves_list(tree))
    return order, np.asarray(fcluster(tree, BLOCKS, "maxclust"))[order]


def _draw(cells: Array, starts: Sequence[int]) -> str:
    """Opacity: square root of the share of the actual class, so that rare confusions show; blocks have outlines."""
    step = -(-SIDE // len(cells))
    opacity = np.sqrt(cells / np.maximum(cells.sum(axis=1, keepdims=True), 1))
    pixels = np.zeros((*cells.shape, 4), dtype=np.uint8)
    pixels[..., :3] = INK
    pixels[..., 3] = np.rint(255 * opacity)
    large = pixels.repeat(step, axis=0).repeat(step, axis=1)
    for start, end in pairwise(starts):
        first = start * step
        last = end * step - 1
        for edge in (first, last):
            large[first : last + 1, edge] = OUTLINE
            large[edge, first : last + 1] = OUTLINE
    return png_uri(large, len(large))
