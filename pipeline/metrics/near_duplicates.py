"""Held-out images that have a near duplicate among the training images, found from cached features."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from cache.errors import RecordError
from cache.layout import Array
from cache.records import FeatureSet
from pipeline.config.shared.limits import COMPARED_IMAGES

BLOCK_CELLS = 16_000_000  # cosines that are held at once
TILE = 2**16  # training rows of a product


@dataclass(frozen=True)
class NearDuplicate:
    """A held-out image and the training image nearest to it; cosine of their standardised features.

    path, train_path: the files that they came from, empty if unknown.
    """

    split: str
    row: int
    id: str
    path: str
    actual: str
    train_row: int
    train_id: str
    train_path: str
    train_class: str
    cosine: float


def compared_rows(ids: Array) -> Array:
    """The rows of a held-out split that are compared: all, or COMPARED_IMAGES by chance, since ids are digests.

    All pairs would grow with the square of the images.
    """
    if len(ids) <= COMPARED_IMAGES:
        return np.arange(len(ids))
    return np.sort(np.argsort(ids, kind="stable")[:COMPARED_IMAGES])


def near_duplicates(split: str, held_out: FeatureSet, train: FeatureSet, threshold: float) -> list[NearDuplicate]:
    """The compared held-out images whose nearest training image has at least this cosine, the nearest first.

    Features are standardised by the training set's mean and deviation first: raw features all point much the same way.
    Raises RecordError if the sets are of different backbones or classes.
    """
    for name in ("classes", "recipe"):
        if getattr(held_out, name) != getattr(train, name):
            raise RecordError(f"feature sets differ in {name}", where=split, remedy="Run featurize again.")
    if not len(train) or not len(held_out):
        return []
    compared = compared_rows(held_out.ids)
    nearest, cosines = nearest_rows(held_out.features[compared], train.features[:])
    places = np.flatnonzero(cosines >= threshold)
    places = places[np.argsort(-cosines[places], kind="stable")]
    return [
        NearDuplicate(
            split=split,
            row=int(compared[place]),
            id=held_out.ids[compared[place]].decode(),
            path="",
            actual=held_out.classes[held_out.labels[compared[place]]],
            train_row=int(nearest[place]),
            train_id=train.ids[nearest[place]].decode(),
            train_path="",
            train_class=train.classes[train.labels[nearest[place]]],
            cosine=float(cosines[place]),
        )
        for place in places
    ]


def nearest_rows(queries: Array, among: Array) -> tuple[Array, Array]:
    """For each row of queries [n, d] the row of `among` [m, d] with the highest cosine, and that cosine; both [n]."""
    mean = among.mean(axis=0, dtype=np.float64).astype(np.float32)
    scale = 1 / np.maximum(among.astype(np.float32).std(axis=0), 1e-6)
    known = _directions(among, mean, scale)
    step = max(1, BLOCK_CELLS // min(len(known), TILE))
    blocks = list(_blocks(queries, known, mean, scale, step))
    return np.concatenate([index for index, _ in blocks]), np.concatenate([cosine for _, cosine in blocks])


def _blocks(queries: Array, known: Array, mean: Array, scale: Array, step: int) -> Iterator[tuple[Array, Array]]:
    for start in range(0, len(queries), step):
        own = _directions(queries[start : start + step], mean, scale)
        best = np.full(len(own), -np.inf, dtype=np.float32)
        index = np.zeros(len(own), dtype=np.int64)
        for tile in range(0, len(known), TILE):
            cosines = own @ known[tile : tile + TILE].T  # [step, tile]
            nearest = cosines.argmax(axis=1)
            highest = cosines[np.arange(len(own)), nearest]
            index = np.where(highest > best, nearest + tile, index)
            best = np.maximum(highest, best)
        yield index, best


def _directions(features: Array, mean: Array, scale: Array) -> Array:
    standardised = (features - mean) * scale  # float32
    lengths = np.maximum(np.linalg.norm(standardised, axis=1, keepdims=True), 1e-12)
    return np.asarray(standardised / lengths)
