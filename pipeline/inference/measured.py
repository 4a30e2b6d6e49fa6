"""What was measured of a classifier on images that it was not trained on, for whoever uses it elsewhere."""

import hashlib
import io
import json
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cache.errors import DamagedFile
from cache.layout import Array
from pipeline.inference.bundle import CARD, REMEDY
from pipeline.inference.known import KnownClasses
from pipeline.metrics.thresholds import ThresholdError, threshold_error, threshold_errors

FILE = "measured.npz"  # in a bundle
KNOWN = ("mean", "scale", "centres", "distances")


@dataclass(frozen=True)
class Measured:
    """probabilities: float32 [n, c] of the images of val. labels: int [n]. known: to tell images of no class, or None.

    Without a val split n is 0.
    """

    probabilities: Array
    labels: Array
    known: KnownClasses | None

    def error_above(self, threshold: float) -> ThresholdError | None:
        """How often predictions of at least this probability are wrong; None without val."""
        return threshold_error(self.probabilities, self.labels, threshold) if len(self.labels) else None

    def errors(self) -> list[ThresholdError]:
        """The same at the usual thresholds."""
        return threshold_errors(self.probabilities, self.labels)

    def to_bytes(self) -> bytes:
        """An .npz file."""
        target = io.BytesIO()
        known = {} if self.known is None else {name: getattr(self.known, name) for name in KNOWN}
        np.savez(target, probabilities=self.probabilities, labels=self.labels.astype(np.int64), **known)
        return target.getvalue()


def read_measured(folder: Path) -> Measured | None:
    """Of a bundle; None if it says nothing. Raises DamagedFile."""
    path = folder / FILE
    try:
        expected = json.loads((folder / CARD).read_bytes()).get("extras", {}).get(FILE)
        if expected is None:
            return None
        content = path.read_bytes()
        if hashlib.sha256(content).hexdigest() != expected:
            raise DamagedFile("checksum does not match", where=path, remedy=REMEDY)
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            known = KnownClasses(*(arrays[name] for name in KNOWN)) if KNOWN[0] in arrays.files else None
            return Measured(arrays["probabilities"], arrays["labels"], known)
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise DamagedFile("cannot be read", where=path, remedy=REMEDY) from error
