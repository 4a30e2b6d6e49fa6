"""Labels that are probably wrong, by confident learning (Northcutt, Jiang, Chuang, J. Artif. Intell. Res. 70, 2021).

An image of class i is a suspect if another class j is more probable than i, and more probable than j is on average for
images labelled j, by predictions of heads that have not seen the image: the off-diagonal entries of the paper's
confident joint.
"""

from dataclasses import dataclass

import numpy as np

from cache.layout import Array

LEAST_ROWS = 3  # of a class whose labels are suspected at all


@dataclass(frozen=True)
class Suspects:
    """Rows int [k] whose labels are suspected, the surest first, and the class int [k] that fits each better."""

    rows: Array
    classes: Array


def find_suspects(probabilities: Array, labels: Array) -> Suspects:
    """probabilities: float [n, c] of each row by a model that has not seen it. labels: int [n].

    Ordered by how much more probable the other class is than the label (the paper's normalised margin).
    """
    count = probabilities.shape[1]
    sizes = np.bincount(labels, minlength=count)
    own = probabilities[np.arange(len(labels)), labels]
    sums = np.bincount(labels, weights=own, minlength=count)
    thresholds = np.where(sizes > 0, sums / np.maximum(sizes, 1), np.inf)  # [c], the mean self-confidence
    confident = np.where(probabilities >= thresholds, probabilities, -1.0)  # [n, c]
    best = confident.argmax(axis=1)
    is_confident = confident[np.arange(len(labels)), best] > 0
    margin = probabilities[np.arange(len(labels)), best] - own
    suspected = is_confident & (margin > 0) & (sizes[labels] >= LEAST_ROWS) & (sizes[best] >= LEAST_ROWS)
    rows = np.flatnonzero(suspected)
    rows = rows[np.argsort(-margin[rows], kind="stable")]
    return Suspects(rows, best[rows])
