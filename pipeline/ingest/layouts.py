"""From the names of image files to classes, and to the splits that the source makes itself.

Folders that all images share are left off first. Then four layouts are understood:

    <class>/**                                           no split of its own
    train/<class>/**, val/<class>/**, test/<class>/**    its own (`official`) splits, in any usual spelling
    <class>/train/**, <class>/test/**                    the same, the other way round
    Tiny ImageNet                                        train/<class>/**; val/images/* with val_annotations.txt is
                                                         the official test; test/images/* has no labels

A table of labels (`label_tables`) says more than any layout if it is asked for, or if no layout fits.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from cache.errors import InputError
from cache.layout import Array
from pipeline.ingest.label_tables import LabelTable
from pipeline.ingest.names import look_alike_key
from pipeline.ingest.split_folders import Reading, Structure, find_structure, shared_folders, some
from pipeline.ingest.split_words import UNLABELLED, split_word

SPLITS = ("train", "val", "test")
ANNOTATIONS = "val_annotations.txt"
LAYOUTS = "<class>/*, or train/<class>/* with test/<class>/*, or the Tiny ImageNet layout"
NO_CLASS = "lies in no class folder"


@dataclass(frozen=True)
class Placement:
    """The split and the class of any file of a source. annotations: classes of the files in the folder val.

    table: split and class of every file, by its whole name, in place of all else.
    """

    prefix: str
    structure: Structure
    annotations: Mapping[str, str] | None = None
    table: Mapping[str, tuple[str, str]] | None = None

    def locate(self, name: str) -> tuple[str, str]:
        """The split and the class of a name below the prefix; an empty class if it has none."""
        if self.table is not None:
            return self.table.get(self.prefix + name, ("train", ""))
        split, label = self.structure.locate(name)
        if self.annotations is None or split == "train":
            return split, label
        if split == "val":
            return "test", self.annotations.get(name.rpartition("/")[2], "")
        return UNLABELLED, ""


@dataclass(frozen=True)
class Uncorrected:
    """The images of a layout as the source has them.

    labels: int [n], before a person corrected them. dropped: bool [n], those that the person leaves out; they are in
    the layout only until images are split.
    """

    labels: Array
    dropped: Array


@dataclass(frozen=True)
class Layout:
    """Where each image belongs.

    placement: how names are read. names: sorted, below the prefix that all names shared. labels int [n]: indices into
    classes. held int [n]: indices into SPLITS, what the source says. unplaced: images of no class, and why. left_out:
    how many images belong to official splits that were not asked for, or have no labels. remarks: what a reader may
    have meant otherwise, one line each. tables: what the labels are from, if not from folders.
    other_table: names nearly all images too, and has other labels than the folders; empty if there is none.
    uncorrected: None if no person has corrected labels.
    """

    placement: Placement
    names: list[str]
    labels: Array
    held: Array
    classes: tuple[str, ...]
    unplaced: dict[str, str]
    left_out: dict[str, int]
    remarks: list[str] = field(default_factory=list)
    tables: tuple[str, ...] = ()
    other_table: str = ""
    uncorrected: Uncorrected | None = None

    @property
    def prefix(self) -> str:
        """The folders that all names shared."""
        return self.placement.prefix

    @property
    def dropped(self) -> Array:
        """bool [n]: images that a person leaves out."""
        return np.zeros(len(self.names), dtype=bool) if self.uncorrected is None else self.uncorrected.dropped

    def take(self, rows: Array) -> "Layout":
        """The chosen images, with their corrected labels alone."""
        names = [self.names[row] for row in rows]
        return replace(self, names=names, labels=self.labels[rows], held=self.held[rows], uncorrected=None)

    def relative(self, name: str) -> str:
        """A file or folder without the folders that all names shared; empty for the last of these."""
        return f"{name}/".removeprefix(self.prefix).rstrip("/")


def match_layout(
    names: Collection[str],
    annotations: Mapping[str, str],
    wanted: Collection[str],
    reading: Reading = "auto",
    table: LabelTable | None = None,
) -> Layout:
    """Place the images of the wanted splits.

    annotations: the text of each `val_annotations.txt` by its name. reading: whether folders named like splits are
    splits. table: labels that count in place of folders. Raises InputError if no layout fits or several do, a wanted
    split is missing, or classes do not match.
    """
    if not names:
        raise InputError("holds no images", expected=LAYOUTS, remedy="Check prepare.source.")
    placement = _place(names, annotations, reading) if table is None else _place_by(names, table)
    no_class = NO_CLASS if table is None else f"has no row in {table.description}"
    located: list[tuple[str, str, str]] = []
    unplaced: dict[str, str] = {}
    left_out: Counter[str] = Counter()
    for name in sorted(name[len(placement.prefix) :] for name in names):
        split, label = placement.locate(name)
        if split not in wanted:
            left_out[split] += 1
        elif label:
            located.append((name, split, label))
        else:
            unplaced[name] = no_class
    classes = _check_classes(located, wanted, len(unplaced))
    numbers = {label: number for number, label in enumerate(classes)}
    return Layout(
        placement=placement,
        names=[name for name, _, _ in located],
        labels=np.array([numbers[label] for _, _, label in located], dtype=np.int64),
        held=np.array([SPLITS.index(split) for _, split, _ in located], dtype=np.int8),
        classes=classes,
        unplaced=unplaced,
        left_out=dict(left_out),
        remarks=_remarks(located, classes, placement) if table is None else [*_look_alikes(classes), *table.remarks],
        tables=() if table is None else table.names,
    )


def read_annotations(text: str) -> dict[str, str]:
    """Class by file name from Tiny ImageNet's tab-separated `val_annotations.txt`. Raises InputError."""
    lines = [line.split("\t") for line in text.splitlines() if line.strip()]
    bad = next((number for number, fields in enumerate(lines, 1) if len(fields) < 2), None)
    if bad is not None:
        line = repr("\t".join(lines[bad - 1])[:80])
        raise InputError("line has no class", where=f"{ANNOTATIONS} line {bad}", expected="file<tab>class", found=line)
    return {fields[0]: fields[1] for fields in lines}


def _place(names: Collection[str], annotations: Mapping[str, str], reading: Reading) -> Placement:
    prefix = shared_folders(names)
    below = [name[len(prefix) :] for name in names]
    text = annotations.get(f"{prefix}val/{ANNOTATIONS}")
    structure = find_structure(below, reading, text is not None)
    if text is None or not structure.splits:
        return Placement(prefix, structure)
    return Placement(prefix, structure, read_annotations(text))


def _place_by(names: Collection[str], table: LabelTable) -> Placement:
    return Placement(shared_folders(names), Structure(), table=table.labels)


def _remarks(located: list[tuple[str, str, str]], classes: Collection[str], placement: Placement) -> list[str]:
    on_names = [*_look_alikes(classes), *_classes_like_splits(classes, placement.structure)]
    return [*on_names, *_remarks_on_folders(located, classes)]


def _check_classes(located: list[tuple[str, str, str]], wanted: Collection[str], unplaced: int) -> tuple[str, ...]:
    classes_in = {split: {label for _, where, label in located if where == split} for split in wanted}
    classes = classes_in["train"]
    if len(classes) < 2:
        loose = f"{len(classes)} ({some(classes)})" if classes else f"none, and {unplaced:,} images in no class folder"
        raise InputError("too few classes", expected=f"two or more: {LAYOUTS}", found=loose)
    for split in sorted(set(wanted) - {"train"}):
        if not classes_in[split]:
            remedy = f"Give prepare.{split} a fraction such as 0.2, a count per class, or none."
            raise InputError(
                f"has no official {split} images", expected=f"a folder {split} of class folders", remedy=remedy
            )
        if classes_in[split] - classes:
            strangers = some(classes_in[split] - classes)
            raise InputError(f"official {split} images have classes that train has not", found=strangers)
        if classes - classes_in[split]:
            raise InputError(f"classes have no official {split} image", found=some(classes - classes_in[split]))
    return tuple(sorted(classes))


def _look_alikes(classes: Collection[str]) -> list[str]:
    """Classes whose names look alike."""
    alike: dict[str, list[str]] = defaultdict(list)
    for label in classes:
        alike[look_alike_key(label)].append(label)
    return [
        f"classes {' and '.join(map(ascii, labels))} look alike and are read as {len(labels)} classes; "
        "if they are one, put their images in one folder"
        for labels in alike.values()
        if len(labels) > 1
    ]


def _classes_like_splits(classes: Collection[str], structure: Structure) -> list[str]:
    """Classes named like splits."""
    if structure.splits:
        return []
    return [
        f"folder {label} is read as a class, not as a split; prepare.layout=splits reads it as a split"
        for label in classes
        if split_word(label)[0] and not split_word(label)[1]
    ]


def _remarks_on_folders(located: list[tuple[str, str, str]], classes: Collection[str]) -> list[str]:
    """Images below two folders that are named like classes: the outer one gives the label."""
    known = set(classes)
    inside: dict[str, set[str]] = defaultdict(set)
    twice: Counter[tuple[str, str]] = Counter()
    for name, _, label in located:
        folders = name.split("/")[:-1]
        inner = folders[folders.index(label) + 1 :] if label in folders else []
        inside[label].update(inner[:1])
        twice.update({(label, folder) for folder in inner if folder in known and folder != label})
    common = set.intersection(*inside.values())
    remarks = [f"every class folder holds {some(common)}; are those the classes?"] if len(common) > 1 else []
    return remarks + [
        f"images in folders {folder} below {label} ({count:,}) are read as {label}, after the outer folder's name"
        for (label, folder), count in sorted(twice.items())
    ]
