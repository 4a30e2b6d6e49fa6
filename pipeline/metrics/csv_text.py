"""Rows as CSV text."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, fields
from typing import Any

DIGITS = 6  # after the point; finer than the share of one image in any test split


def to_csv(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """CSV text with one header line; floats are rounded to 6 digits."""
    target = io.StringIO()
    writer = csv.writer(target, lineterminator="\n")
    writer.writerow(header)
    writer.writerows([round(cell, DIGITS) if isinstance(cell, float) else cell for cell in row] for row in rows)
    return target.getvalue()


def rows_csv(kind: type[Any], rows: Iterable[Any]) -> str:
    """CSV text of dataclasses of this kind: one column per field, one line per row."""
    return to_csv([field.name for field in fields(kind)], map(astuple, rows))


COLUMNS = ("epoch", "variant", "lr", "train_loss", "train_accuracy", "val_loss", "val_accuracy")


def curves_csv(curves: Sequence[Mapping[str, Any]]) -> str:
    """The text of curves.csv: a row per epoch. The header alone without epochs; cells are empty without a val split."""
    text = io.StringIO()
    columns = dict.fromkeys([*COLUMNS, *(name for row in curves for name in row)])  # DVC's plots want them all
    writer = csv.DictWriter(text, list(columns), restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(curves)
    return text.getvalue()
