"""Refusals of sets that do not belong together: the one home of these checks."""

from typing import Protocol

import numpy as np

from cache.errors import RecordError
from cache.layout import Array


class Identified(Protocol):
    """A set whose rows have labels int [n] and ids S64 [n]."""

    @property
    def labels(self) -> Array: ...
    @property
    def ids(self) -> Array: ...


def check_same_rows(first: Identified, second: Identified, what: str, where: str = "", remedy: str = "") -> None:
    """Raise RecordError, whose message is `what`, unless both have the same ids and labels in the same order."""
    if not np.array_equal(first.ids, second.ids) or not np.array_equal(first.labels, second.labels):
        raise RecordError(
            what, where=where or None, expected="the same ids and labels in the same order", remedy=remedy
        )
