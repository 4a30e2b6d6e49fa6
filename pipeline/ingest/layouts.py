"""From the names of image files to classes, and to the splits that the source makes itself.

Folders that all images share are left off first. Then three layouts are understood:

    <class>/**                                           no split of its own
    train/<class>/**, val/<class>/**, test/<class>/**    its own (`official`) splits; train/ must be there
    Tiny ImageNet                                        train/<class>/**; val/images/* with val_annotations.txt is
                                                         the official test; test/images/* has no labels
"""

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np

from cache.errors import InputError
from cache.layout import Array

SPLITS = ("train", "val", "test")
SPLIT_FOLDERS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
ANNOTATIONS = "val_annotations.txt"
LAYOUTS = "<class>/*, or train/<class>/* with test/<class>/*, or the Tiny ImageNet layout"
NO_CLASS = "lies in no class folder"
UNLABELLED = "unlabelled"


@dataclass(frozen=True)
class Layout:
    """Where each image belongs.

    prefix: the folders that all names shared. names: sorted, below the prefix. labels int [n]: indices into classes.
    held int [n]: indices into SPLITS, what the source says. unplaced: images of no class, and why. left_out: how many
    images belong to official splits that were not asked for, or have no labels.
    """

    prefix: str
    names: list[str]
    labels: Array
    held: Array
    classes: tuple[str, ...]
    unplaced: dict[str, str]
    left_out: dict[str, int]


def match_layout(names: Collection[str], annotations: Mapping[str, str], wanted: Collection[str]) -> Layout:
    """Place the images of the wanted splits. annotations: the text of each `val_annotations.txt` by its name.

    Raises InputError where no layout fits, a wanted split is missing, or classes do not match.
    """
    if not names:
        raise InputError("holds no images", expected=LAYOUTS, remedy="Check prepare.source.")
    prefix = _shared_folders(names)
    tops = {name[len(prefix) :].partition("/")[0] for name in names if "/" in name[len(prefix) :]}
    if tops and tops <= set(SPLIT_FOLDERS) and "train" not in tops:
        raise InputError("has no folder train", expected=LAYOUTS, found=_some(tops))
    text = annotations.get(f"{prefix}val/{ANNOTATIONS}")
    given = None if text is None else read_annotations(text)
    located: list[tuple[str, str, str]] = []
    unplaced: dict[str, str] = {}
    left_out: Counter[str] = Counter()
    for name in sorted(name[len(prefix) :] for name in names):
        split, label = _locate(name, given, "train" in tops)
        if split not in wanted:
            left_out[split] += 1
        elif label:
            located.append((name, split, label))
        else:
            unplaced[name] = NO_CLASS
    classes = _check_classes(located, wanted, len(unplaced))
    numbers = {label: number for number, label in enumerate(classes)}
    labels = np.array([numbers[label] for _, _, label in located], dtype=np.int64)
    held = np.array([SPLITS.index(split) for _, split, _ in located], dtype=np.int8)
    return Layout(prefix, [name for name, _, _ in located], labels, held, classes, unplaced, dict(left_out))


def read_annotations(text: str) -> dict[str, str]:
    """Class by file name from Tiny ImageNet's tab-separated `val_annotations.txt`. Raises InputError."""
    lines = [line.split("\t") for line in text.splitlines() if line.strip()]
    bad = next((number for number, fields in enumerate(lines, 1) if len(fields) < 2), None)
    if bad is not None:
        found = repr("\t".join(lines[bad - 1])[:80])
        raise InputError("line has no class", where=f"{ANNOTATIONS} line {bad}", expected="file<tab>class", found=found)
    return {fields[0]: fields[1] for fields in lines}


def _shared_folders(names: Collection[str]) -> str:
    first, last = min(names), max(names)
    length = next((at for at, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first))
    return first[: first.rfind("/", 0, length) + 1]


def _locate(name: str, annotations: Mapping[str, str] | None, has_splits: bool) -> tuple[str, str]:
    """The split and the class of an image, an empty class where it has none."""
    top, _, inner = name.partition("/")
    split = SPLIT_FOLDERS.get(top, "train") if has_splits and inner else "train"
    if annotations is not None and split == "val":
        return "test", annotations.get(name.rpartition("/")[2], "")
    if annotations is not None and split == "test":
        return UNLABELLED, ""
    if not has_splits:
        return split, top if inner else ""
    label, _, rest = inner.partition("/")
    return split, label if rest and top in SPLIT_FOLDERS else ""


def _check_classes(located: list[tuple[str, str, str]], wanted: Collection[str], unplaced: int) -> tuple[str, ...]:
    found = {split: {label for _, where, label in located if where == split} for split in wanted}
    classes = found["train"]
    if len(classes) < 2:
        loose = f"{len(classes)} ({_some(classes)})" if classes else f"none, and {unplaced:,} images in no class folder"
        raise InputError("too few classes", expected=f"two or more: {LAYOUTS}", found=loose)
    for split in sorted(set(wanted) - {"train"}):
        if not found[split]:
            remedy = f"Give prepare.{split} a fraction such as 0.2, a count per class, or none."
            raise InputError(f"has no official {split} images", expected=f"a folder {split}", remedy=remedy)
        if found[split] - classes:
            strangers = _some(found[split] - classes)
            raise InputError(f"official {split} images have classes that train has not", found=strangers)
        if classes - found[split]:
            raise InputError(f"classes have no official {split} image", found=_some(classes - found[split]))
    return tuple(sorted(classes))


def _some(names: Collection[str], most: int = 5) -> str:
    listed = ", ".join(sorted(names)[:most])
    return f"{listed} and {len(names) - most:,} more" if len(names) > most else listed
