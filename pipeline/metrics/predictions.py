"""A classifier's output for each row: class probabilities with the row's label and id."""

import io
import json
import struct
import zipfile
from dataclasses import dataclass, replace

import numpy as np

from cache.errors import DamagedFile, ForeignFile, NewerFile, RecordError
from cache.layout import Array, canonical
from cache.records import check_identity

FORMAT = "augcache predictions"
VERSION = 1
SUM_TOLERANCE = 1e-4  # a float32 softmax over thousands of classes stays well within
REMAKE = "Run the evaluate stage again."
UNREADABLE = (ValueError, KeyError, OSError, EOFError, RuntimeError, struct.error, zipfile.BadZipFile)


@dataclass(frozen=True)
class Predictions:
    """Predictions for the rows of one split and variant.

    probabilities: float32 [n, c], rows sum to 1. labels: int [n], the true classes. ids: S64 [n], the content hash
    of each source image. Raises RecordError if the columns do not fit each other.
    """

    probabilities: Array
    labels: Array
    ids: Array
    classes: tuple[str, ...]
    variant: str

    def __post_init__(self) -> None:
        check_identity(len(self), self.labels, self.ids, self.classes, self.variant)
        self._check_probabilities()

    def __len__(self) -> int:
        return len(self.probabilities)

    def take(self, rows: Array) -> "Predictions":
        """The chosen rows."""
        return replace(self, probabilities=self.probabilities[rows], labels=self.labels[rows], ids=self.ids[rows])

    @property
    def predicted(self) -> Array:
        """int [n]: the most probable class of each row, the first among equals."""
        return np.asarray(self.probabilities.argmax(axis=1))

    @property
    def correct(self) -> Array:
        """bool [n]: whether the most probable class is the true one."""
        return np.asarray(self.predicted == self.labels)

    @property
    def ranks(self) -> Array:
        """int [n]: how many classes are ranked before the true one; equals rank in class order, as in `predicted`."""
        own = self.probabilities[np.arange(len(self)), self.labels][:, None]  # [n, 1]
        earlier = np.arange(len(self.classes)) < self.labels[:, None]  # [n, c]
        return np.asarray(((self.probabilities > own) | ((self.probabilities == own) & earlier)).sum(axis=1))

    def _check_probabilities(self) -> None:
        expected = f"float32 [n, {len(self.classes)}]"
        if self.probabilities.dtype != np.float32 or self.probabilities.shape != (len(self), len(self.classes)):
            actual = f"{self.probabilities.dtype} {self.probabilities.shape}"
            raise RecordError("probabilities have the wrong form", expected=expected, found=actual)
        if not np.isfinite(self.probabilities).all() or (self.probabilities < 0).any():
            raise RecordError("probabilities are negative, NaN or infinite")
        sums = self.probabilities.sum(axis=1, dtype=np.float64)
        wrong = np.flatnonzero(np.abs(sums - 1) > SUM_TOLERANCE)
        if len(wrong):
            actual = f"{sums[wrong[0]]:.6g} in row {wrong[0]}"
            raise RecordError("probabilities of a row do not sum to 1", expected="1", found=actual)


def to_npz(predictions: Predictions) -> bytes:
    """The bytes of an .npz file, equal for equal predictions: no timestamps, no pickle, a CRC for every array."""
    meta = {
        "format": FORMAT,
        "version": VERSION,
        "classes": list(predictions.classes),
        "variant": predictions.variant,
    }
    target = io.BytesIO()
    np.savez(
        target,
        probabilities=predictions.probabilities.astype("<f4"),
        labels=predictions.labels.astype("<i8"),
        ids=predictions.ids.astype("S64"),  # without the metadata that HDF5 attaches to the type
        meta=np.frombuffer(canonical(meta), dtype=np.uint8),
    )
    return target.getvalue()


def from_npz(content: bytes, where: object = None) -> Predictions:
    """Predictions from bytes written by `to_npz`. Raises ForeignFile, NewerFile, DamagedFile or RecordError."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            damaged = archive.testzip()
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            columns = {name: file[name] for name in file.files}
        meta = json.loads(columns.pop("meta").tobytes())
    except UNREADABLE as error:
        raise DamagedFile("predictions cannot be read", where=where, remedy=REMAKE) from error
    if damaged is not None:
        raise DamagedFile(f"checksum of {damaged} does not match", where=where, remedy=REMAKE)
    if not isinstance(meta, dict) or meta.get("format") != FORMAT or set(columns) != {"probabilities", "labels", "ids"}:
        raise ForeignFile("not a file of predictions", where=where, expected=repr(FORMAT), remedy=REMAKE)
    if meta["version"] > VERSION:
        actual = f"version {meta['version']}"
        raise NewerFile("format is newer than this code", where=where, expected=f"version {VERSION}", found=actual)
    return Predictions(**columns, classes=tuple(meta["classes"]), variant=meta["variant"])
