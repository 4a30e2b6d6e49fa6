"""Corrections of labels that a person made, as a table beside the images: the images themselves are never touched.

A table `file,action,label`: `relabel` gives an image another class, `drop` leaves it out, `keep` says that its label is
right, `open` that it was suspected and nobody has decided. Files are named as the source spells them. `python -m
stages.relabel` writes it; its name ends in the first digits of the SHA-256 of its content, so that DVC notices every
change.
"""

import csv
import difflib
import hashlib
import io
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from cache.errors import InputError
from pipeline.ingest.layouts import Layout, Uncorrected
from pipeline.ingest.split_folders import some

ACTIONS = ("relabel", "drop", "keep")
OPEN = "open"  # in the tables that relabel writes; a person writes nothing
COLUMNS = ("file", "action", "label")
NAMED = re.compile(r".*-([0-9a-f]{8})\.csv")
AGAIN = "Apply changes by python -m stages.relabel TABLE."
STEADY = "every image stays in its split, so accuracies before and after are of the same images"
RESPLIT = "prepare.imbalance chooses anew, so images may have moved between train, val and test"


@dataclass(frozen=True)
class Correction:
    """What is to be done with an image. label: the class of a relabelled one, else empty."""

    action: str
    label: str = ""


@dataclass(frozen=True)
class Applied:
    """Images by what was done with them, as the source spells them. missing: those that are not there.

    table: which says so; empty if there is none. labels: the former ones of the relabelled images. moved: images that
    had to go into another split, and which. resplit: whether classes are split by their corrected labels.
    """

    table: str = ""
    relabelled: dict[str, str] = field(default_factory=dict)
    dropped: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    open: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    labels: dict[str, str] = field(default_factory=dict)
    moved: dict[str, str] = field(default_factory=dict)
    resplit: bool = False

    @property
    def by_action(self) -> dict[str, Any]:
        """For the manifest."""
        return {name: value for name, value in vars(self).items() if name not in {"table", "resplit"}}

    def lines(self) -> Iterator[str]:
        """What prepare says of it."""
        if self.relabelled or self.dropped:
            yield f"relabelled: {len(self.relabelled):,} images, left out: {len(self.dropped):,}, as {self.table} says"
            yield RESPLIT if self.resplit else STEADY
        if self.missing:
            yield f"{self.table} names {len(self.missing):,} files that are not there: {some(self.missing)}"

    def moves(self) -> Iterator[str]:
        """What prepare says of images that had to go into another split."""
        if self.moved:
            images = "1 image" if len(self.moved) == 1 else f"{len(self.moved):,} images"
            pairs = [f"{file} into {split}" for file, split in self.moved.items()]
            yield f"moved {images}, because a class had none left in a split: {some(pairs)}"


def read_corrections(path: str) -> dict[str, Correction]:
    """By file. Raises InputError if the table cannot be used, or was changed since relabel wrote it."""
    try:
        content = Path(path).expanduser().read_bytes()
    except OSError as error:
        remedy = "Set prepare.relabel to null, or bring the table back."
        raise InputError(f"cannot be read: {error.strerror}", where=path, remedy=remedy) from error
    named = NAMED.fullmatch(Path(path).name)
    digest = digest_of(content)
    if named and named[1] != digest:
        raise InputError("was changed by hand", where=path, expected=named[1], found=digest, remedy=AGAIN)
    return parse_corrections(content.decode("utf-8-sig", "backslashreplace"), path)


def digest_of(content: bytes) -> str:
    """The digits by which a table is named."""
    return hashlib.sha256(content).hexdigest()[:8]


def parse_corrections(text: str, where: str) -> dict[str, Correction]:
    """From the text of a table; rows without an action say nothing. Raises InputError with the line."""
    reader = csv.DictReader(io.StringIO(text, newline=""), restval="")
    missing = set(COLUMNS) - set(reader.fieldnames or ())
    if missing:
        actual = ", ".join(reader.fieldnames or ()) or "nothing"
        raise InputError("columns are missing", where=where, expected=", ".join(COLUMNS), found=actual)
    corrections: dict[str, Correction] = {}
    for row in reader:
        action = row["action"].strip().lower()
        if not action:
            continue
        label = row["label"].strip() if action == "relabel" else ""
        place = f"{where} line {reader.line_num}"
        if action not in {*ACTIONS, OPEN}:
            raise InputError("unknown action", where=place, expected=", ".join(ACTIONS), found=action)
        if action == "relabel" and not label:
            raise InputError("relabel without a label", where=place, remedy="Write the right class into column label.")
        correction = Correction(action, label)
        if corrections.setdefault(row["file"], correction) != correction:
            raise InputError("two actions for one file", where=place, found=row["file"], remedy="Keep one of them.")
    return corrections


def decisions(corrections: Mapping[str, Correction]) -> dict[str, Correction]:
    """Those that a person has decided about."""
    return {file: own for file, own in corrections.items() if own.action != OPEN}


def merged(earlier: Mapping[str, Correction], later: Mapping[str, Correction]) -> dict[str, Correction]:
    """Both: a later decision replaces what was said before, what is open replaces no decision."""
    return {**later, **earlier, **decisions(later)}


def corrections_text(corrections: Mapping[str, Correction]) -> str:
    """The table, sorted by file."""
    target = io.StringIO()
    writer = csv.writer(target, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows((file, own.action, own.label) for file, own in sorted(corrections.items()))
    return target.getvalue()


def apply_corrections(
    layout: Layout, corrections: Mapping[str, Correction], spelled: Mapping[str, str], table: str
) -> tuple[Layout, Applied]:
    """The layout with other labels, and which images are left out.

    spelled: names as the source has them, if they differ.
    Raises InputError for a class that no folder or table has, or if a class would be left without images.
    """
    numbers = {label: number for number, label in enumerate(layout.classes)}
    refuse_unknown(corrections, layout.classes, table)
    labels = layout.labels.copy()
    dropped = np.zeros(len(layout.names), dtype=bool)
    applied = Applied(table)
    left = set(decisions(corrections))
    for row, name in enumerate(layout.names):
        file = spelled.get(layout.prefix + name, layout.prefix + name)
        correction = corrections.get(file)
        if correction is None:
            continue
        left.discard(file)
        if correction.action == "drop":
            dropped[row] = True
            applied.dropped.append(file)
        elif correction.action == "relabel":
            labels[row] = numbers[correction.label]
            applied.relabelled[file] = correction.label
            applied.labels[file] = layout.classes[layout.labels[row]]
        else:
            (applied.open if correction.action == OPEN else applied.kept).append(file)
    applied.missing.extend(sorted(left))
    sizes = Counter(labels[~dropped].tolist())
    empty = [label for label, number in numbers.items() if not sizes[number]]
    if empty:
        raise InputError("would leave classes without images", where=table, found=some(empty))
    return replace(layout, labels=labels, uncorrected=Uncorrected(layout.labels, dropped)), applied


def refuse_unknown(corrections: Mapping[str, Correction], classes: Sequence[str], where: str) -> None:
    """Raise InputError for a correction to a class that there is not."""
    for file, own in corrections.items():
        if own.label and own.label not in classes:
            near = difflib.get_close_matches(own.label, classes, 1)
            expected = near[0] if near else f"one of {some(classes, 20)}"
            raise InputError("unknown class", where=f"{where}, {file}", expected=expected, found=own.label)
