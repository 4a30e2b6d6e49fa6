"""A confusion matrix that can be read however many classes there are: alike classes side by side, in blocks."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from cache.layout import Array
from pipeline.report.gallery import png_uri

NUMBERS = 20  # up to so many classes the cells are numbers
BLOCKS = 12  # more classes than numbers are cut into at most so many blocks
SIDE = 720  # of the picture in pixels, at least
INK = (11, 98, 196)


@dataclass(frozen=True)
class Confusion:
    """Classes in an order that puts those together that are taken for each other.

    cells: int [c, c], actual by predicted. blocks: names of the classes of each block; one block up to 20 classes.
    picture: a data: URI of one square a cell, transparent where nothing is, for more classes than that; else empty.
    """

    classes: tuple[str, ...]
    cells: Array
    blocks: tuple[tuple[str, ...], ...]
    picture: str

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
    place = {name: index for index, name in enumerate(names)}
    cells = np.zeros((len(names), len(names)), dtype=np.int64)
    np.add.at(cells, ([place[actual] for actual, _ in pairs], [place[predicted] for _, predicted in pairs]), 1)
    if len(names) <= NUMBERS:
        return Confusion(tuple(names), cells, (tuple(names),), "")
    order, block = _order(cells)
    cells, chosen = cells[np.ix_(order, order)], [names[index] for index in order]
    starts = [0, *(np.flatnonzero(np.diff(block)) + 1).tolist(), len(chosen)]
    blocks = tuple(tuple(chosen[start:end]) for start, end in pairwise(starts))
    return Confusion(tuple(chosen), cells, blocks, _picture(cells, starts))


def _order(cells: Array) -> tuple[Array, Array]:
    """Class numbers in an order that puts the confused together, and the block of each place."""
    from scipy.cluster.hierarchy import fcluster, leaves_list, linkage
    from scipy.spatial.distance import squareform

    shares = cells / np.maximum(cells.sum(axis=1, keepdims=True), 1)
    alike = (shares + shares.T) / 2
    distances = squareform(1 - alike / max(1.0, float(alike.max())), checks=False)
    tree = linkage(distances, "average", optimal_ordering=len(cells) <= 500)
    order = np.asarray(leaves_list(tree))
    return order, np.asarray(fcluster(tree, BLOCKS, "maxclust"))[order]


def _picture(cells: Array, starts: Sequence[int]) -> str:
    """The share of each actual class as depth of ink, its square root so that rare confusions show; blocks outlined."""
    step = -(-SIDE // len(cells))
    depth = np.sqrt(cells / np.maximum(cells.sum(axis=1, keepdims=True), 1))
    pixels = np.zeros((*cells.shape, 4), dtype=np.uint8)
    pixels[..., :3], pixels[..., 3] = INK, np.rint(255 * depth)
    large = pixels.repeat(step, axis=0).repeat(step, axis=1)
    for start, end in pairwise(starts):
        first, last = start * step, end * step - 1
        for edge in (first, last):
            large[first : last + 1, edge] = large[edge, first : last + 1] = (128, 128, 128, 255)
    return png_uri(large, len(large))
