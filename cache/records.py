"""The records that every stage exchanges: labelled images and labelled features.

Frozen and checked on construction. Rows are a numpy array or anything that looks like one when sliced (`Rows`),
so a record of a million images costs no memory until its rows are read.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, runtime_checkable

import numpy as np

from cache.errors import RecordError
from cache.layout import DRAWN_BY, Array, derived_keys, hex_keys, row_digests, rows_per_block

VARIANT = re.compile(r"[a-z][a-z0-9_]*")
UNAUGMENTED = "unaugmented"


class Rows(Protocol):
    """Rows [n, ...] that can be sliced or taken by index arrays."""

    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def dtype(self) -> np.dtype[Any]: ...
    def __len__(self) -> int: ...
    def __getitem__(self, index: Any, /) -> Array: ...


def positions_of(index: Any, count: int) -> Array:
    """Row numbers int [k] that an index of `count` rows means: a slice, a number, numbers or one bool per row.

    Takes time and memory for the rows that are meant, not for all. Raises IndexError.
    """
    if isinstance(index, slice):
        return np.arange(*index.indices(count))
    positions = np.atleast_1d(np.asarray(index))
    if positions.dtype == bool:
        if len(positions) != count:
            raise IndexError(f"{len(positions)} bools for {count} rows")
        return np.flatnonzero(positions)
    if not positions.size:
        return positions.astype(np.int64)
    if int(positions.min()) < -count or int(positions.max()) >= count:
        raise IndexError(f"rows {int(positions.min())} to {int(positions.max())} of {count}")
    return np.asarray(np.where(positions < 0, positions + count, positions))


@runtime_checkable
class SelectableRows(Rows, Protocol):
    """Rows that are read on demand; some of them can be chosen, and sent to another process, without reading any."""

    def select(self, positions: Array) -> "SelectableRows": ...


@dataclass(frozen=True)
class Variant:
    """A variant without pixels: identity, and the recipe by which each row is drawn when it is read.

    labels: int [n], indices into classes. ids: S64 [n], those of the source images.
    """

    labels: Array
    ids: Array
    classes: tuple[str, ...]
    variant: str
    recipe: dict[str, Any]

    def __post_init__(self) -> None:
        check_identity(len(self.ids), self.labels, self.ids, self.classes, self.variant)

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class ImageSet:
    """Labelled images of one split and variant.

    images: uint8 [n, h, w, 3] RGB. labels: int [n], indices into classes. ids: S64 [n], the SHA-256 of the source
    image's pixels in hexadecimal, shared by all augmented siblings of one photo. recipe: what made the pixels.
    """

    images: Rows
    labels: Array
    ids: Array
    classes: tuple[str, ...]
    variant: str = UNAUGMENTED
    recipe: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(self.images.shape) != 4 or self.images.shape[3] != 3 or self.images.dtype != np.uint8:
            actual = f"{self.images.dtype} {tuple(self.images.shape)}"
            raise RecordError("images have the wrong form", expected="uint8 [n, h, w, 3]", found=actual)
        check_identity(len(self.images), self.labels, self.ids, self.classes, self.variant)

    def __len__(self) -> int:
        return len(self.images)

    def keys(self) -> Array:
        """S64 [n]: what keys that which is computed from each row.

        The SHA-256 of its pixels; of a drawn row, that of its recipe and id, whether its pixels are kept or not.
        """
        if self.recipe.get("stage") == DRAWN_BY:
            return derived_keys(self.ids, self.recipe)
        stored = getattr(self.images, "digests", None)
        if stored is not None:
            return hex_keys(stored)
        step = rows_per_block(tuple(self.images.shape[1:]), np.uint8)
        blocks = [row_digests(self.images[start : start + step]) for start in range(0, len(self), step)]
        return hex_keys(np.concatenate(blocks)) if blocks else np.empty(0, dtype="S64")

    def take(self, index: Array) -> "ImageSet":
        """The chosen rows, in memory."""
        return replace(self, images=self.images[index], labels=self.labels[index], ids=self.ids[index])


@dataclass(frozen=True)
class FeatureSet:
    """Features of an ImageSet: float16 or float32 [n, d], with the same identity columns and the backbone's name."""

    features: Rows
    labels: Array
    ids: Array
    classes: tuple[str, ...]
    variant: str
    backbone: str
    recipe: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(self.features.shape) != 2 or self.features.dtype not in (np.float16, np.float32):
            actual = f"{self.features.dtype} {tuple(self.features.shape)}"
            raise RecordError("features have the wrong form", expected="float16 or float32 [n, d]", found=actual)
        if not self.backbone:
            raise RecordError("features do not name their backbone")
        check_identity(len(self.features), self.labels, self.ids, self.classes, self.variant)

    def __len__(self) -> int:
        return len(self.features)

    def take(self, index: Array) -> "FeatureSet":
        """The chosen rows, in memory."""
        return replace(self, features=self.features[index], labels=self.labels[index], ids=self.ids[index])


def check_identity(n: int, labels: Array, ids: Array, classes: Sequence[str], variant: str) -> None:
    """Refuse identity columns that do not fit n rows, each other or the classes. Raises RecordError."""
    if len(labels) != n or len(ids) != n:
        actual = f"{n} rows, {len(labels)} labels, {len(ids)} ids"
        raise RecordError("columns differ in length", expected="one label and one id a row", found=actual)
    if np.asarray(labels).dtype.kind not in "iu" or np.asarray(ids).dtype.kind != "S":
        actual = f"labels {np.asarray(labels).dtype}, ids {np.asarray(ids).dtype}"
        raise RecordError("columns have the wrong type", expected="integer labels and bytes ids", found=actual)
    if len(set(classes)) != len(classes) or not all(isinstance(name, str) and name for name in classes):
        raise RecordError("class names must be distinct and not empty", found=_repeated(classes))
    if n and (int(labels.min()) < 0 or int(labels.max()) >= len(classes)):
        actual = f"{int(labels.min())} to {int(labels.max())}"
        raise RecordError("labels do not match the classes", expected=f"0 to {len(classes) - 1}", found=actual)
    if not VARIANT.fullmatch(variant):
        raise RecordError("bad variant name", expected="lower-case letters, digits and _", found=repr(variant))


def _repeated(names: Sequence[str]) -> str:
    return ", ".join(sorted({repr(name) for name in names if list(names).count(name) > 1 or not name})[:5])
