"""Which folders are the source's own splits, and which are classes: by their names and by what lies in them.

A class may be called `train` too, so a name alone decides nothing: folders named like splits are splits if they hold
class folders, and classes if they hold images. If both fit, the source is refused.
"""

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from cache.errors import InputError
from pipeline.ingest.split_words import FILLERS, UNLABELLED, WORDS, split_word, split_words

NUMBERED = re.compile(r"(fold|part|batch|shard|chunk|split|cv)[\W_]*\d+", re.IGNORECASE)
SPLIT_LIKE = re.compile(r"train|test|valid", re.IGNORECASE)

Reading = Literal["auto", "classes", "splits"]


@dataclass(frozen=True)
class Structure:
    """How folders are read.

    splits: the split of each folder that is one; empty if the source makes none. inner: by split folder, the folders
    between it and its class folders. below_classes: each class folder holds the split folders, not the other way round.
    """

    splits: Mapping[str, str] = field(default_factory=dict)
    inner: Mapping[str, str] = field(default_factory=dict)
    below_classes: bool = False

    def locate(self, name: str) -> tuple[str, str]:
        """The split and the class of a name; an empty class if it lies in no class folder."""
        top, _, rest = name.partition("/")
        if self.below_classes:
            return self.splits.get(rest.partition("/")[0], "train"), top if rest else ""
        if not self.splits:
            return "train", top if rest else ""
        if top not in self.splits:
            return "train", ""
        label, slash, _ = rest.removeprefix(self.inner.get(top, "")).partition("/")
        return self.splits[top], label if slash else ""


def find_structure(names: Collection[str], reading: Reading, annotated: bool) -> Structure:
    """Decide what the folders of images are. annotated: a file gives the labels of the folder val.

    Raises InputError if both readings fit, or if neither does.
    """
    if reading == "classes":
        return Structure()
    inside = _folders_inside(names)
    words = split_words(inside)
    if reading == "splits":
        return (None if words else _splits_below_classes(names)) or _as_splits(names, words)
    if words and (annotated or _tops_are_splits(names, words, set(inside) - set(words))):
        return _as_splits(names, words)
    _refuse_parts(inside)
    return _splits_below_classes(names) or Structure()


def shared_folders(names: Collection[str]) -> str:
    """The folders that all names share, with a `/` at the end; empty if there are none."""
    first = min(names)
    last = max(names)
    length = next((at for at, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first))
    return first[: first.rfind("/", 0, length) + 1]


def some(names: Collection[str], most: int = 5) -> str:
    """The first names in their order, and how many more there are."""
    listed = ", ".join(sorted(names)[:most])
    return f"{listed} and {len(names) - most:,} more" if len(names) > most else listed


def _folders_inside(names: Iterable[str], inner: Mapping[str, str] | None = None) -> dict[str, set[str]]:
    """The folders directly inside each top folder, or inside its `inner` folders."""
    inside: dict[str, set[str]] = defaultdict(set)
    for name in names:
        top, slash, rest = name.partition("/")
        if slash:
            inside[top].update(rest.removeprefix((inner or {}).get(top, "")).split("/")[:-1][:1])
    return dict(inside)


def _tops_are_splits(names: Collection[str], words: Mapping[str, str], others: Collection[str]) -> bool:
    """Whether the folders named like splits are splits. Raises InputError if both readings fit.

    words: by folder. others: the top folders that are not named like splits.
    """
    splits = {folder: WORDS[word] for folder, word in words.items()}
    inside = _folders_inside(names, _inner_folders(names, splits))
    kinds = set(splits.values()) - {UNLABELLED}
    classes = {label for top, split in splits.items() if split == "train" for label in inside[top]}
    beside = {label for top in words for label in inside[top]} & set(others)
    if beside:
        _refuse(words, f"hold folders that stand beside them too ({some(beside)})", "Put those in a folder train")
    if "train" not in kinds and not others:
        return True  # refused later, because train is missing
    if len(classes) < 2 and (len(kinds) > 1 or not others):
        _refuse(words, "hold fewer than two class folders", "Put the images of each class in a folder of its own there")
    if len(classes) < 2 or not others:
        return len(classes) > 1
    if not any(inside[top] & classes for top, split in splits.items() if split != "train"):
        _refuse(words, f"hold folders, but stand beside others ({some(others)})", "Take those away")
    return True


def _refuse(words: Mapping[str, str], what: str, remedy: str) -> None:
    raise InputError(
        f"folders named like splits ({some(words)}) {what}, so they may be splits or classes",
        remedy=f"{remedy}, or set prepare.layout to splits or to classes.",
    )


def _as_splits(names: Collection[str], words: Mapping[str, str]) -> Structure:
    by_split: dict[str, set[str]] = defaultdict(set)
    for word in words.values():
        by_split[WORDS[word]].add(word)
    double = next((sorted(same) for split, same in by_split.items() if len(same) > 1 and split != UNLABELLED), None)
    if double:
        what = f"folders named {' and '.join(double)} are one split by their names"
        raise InputError(what, remedy="Put them together, or rename one to train, val or test.")
    if "train" not in by_split:
        remedy = "Add it, or set prepare.layout to classes if these are classes."
        raise InputError("has no folder train", expected="train/<class>/*", found=some(words) or "none", remedy=remedy)
    splits = {folder: WORDS[word] for folder, word in words.items()}
    return Structure(splits, _inner_folders(names, splits))


def _inner_folders(names: Collection[str], splits: Mapping[str, str]) -> dict[str, str]:
    """The folders between a split folder and its class folders, such as the second in `seg_train/seg_train/cat`."""
    members: dict[str, list[str]] = defaultdict(list)
    for name in names:
        top, slash, rest = name.partition("/")
        if slash and top in splits:
            members[top].append(rest)
    inner = {top: _shared_above_folders(rests) for top, rests in members.items() if splits[top] == "train"}
    between = {folder for folders in inner.values() for folder in folders.split("/")}
    for top in members.keys() - inner.keys():
        inner[top] = _leading(shared_folders(members[top]), between)
    return inner


def _shared_above_folders(names: Collection[str]) -> str:
    """Folders that all names share, as far as there are still folders inside."""
    shared = shared_folders(names)
    if any("/" in name[len(shared) :] for name in names):
        return shared
    return ""


def _leading(folders: str, between: Collection[str]) -> str:
    """The first of these folders that are no class: they bear a split's name, or train has them in between too."""
    kept = ""
    for folder in folders.split("/")[:-1]:
        if not (folder in between or folder.lower() in FILLERS or split_word(folder)[0]):
            break
        kept += f"{folder}/"
    return kept


def _refuse_parts(inside: Mapping[str, set[str]]) -> None:
    """Raise InputError for folds, parts and splits of unknown names that all hold the same class folders."""
    common = set.intersection(*inside.values()) if inside else set()
    numbered = all(NUMBERED.fullmatch(top) for top in inside)
    if len(common) > 1 and (numbered or any(SPLIT_LIKE.search(top) for top in inside)):
        raise InputError(
            f"folders {some(inside)} hold the same folders {some(common)}, so they may be parts or classes",
            remedy="Rename splits to train, val and test, put parts together, or set prepare.layout to classes.",
        )


def _splits_below_classes(names: Collection[str]) -> Structure | None:
    """<class>/train/* and <class>/test/*, if all images lie like that. Raises InputError if only some do."""
    folders = {name.rpartition("/")[0] for name in names}
    holders = _folders_with_splits(folders)
    if not holders:
        return None
    words = {child: word for children in holders.values() for child, word in children.items()}
    paths = [folder.split("/") for folder in folders]
    if all(len(parts) == 2 and parts[1] in words for parts in paths):
        return Structure({child: WORDS[word] for child, word in words.items()}, below_classes=True)
    holder = min(holders)
    beside = {folder or "images in no folder" for folder in folders if not folder.startswith(f"{holder}/")}
    raise InputError(
        f"folder {holder} holds splits ({some(holders[holder])}), but other images lie beside it",
        found=some(beside) or None,
        remedy=f"Name {holder} in prepare.source, take the others away, or set prepare.layout to classes.",
    )


def _folders_with_splits(folders: Iterable[str]) -> dict[str, dict[str, str]]:
    """Folders at any depth that hold train and another split; of each, the split words by folder."""
    inside: dict[str, set[str]] = defaultdict(set)
    for folder in folders:
        parts = folder.split("/")
        for depth in range(1, len(parts)):
            inside["/".join(parts[:depth])].add(parts[depth])
    words = {holder: split_words(children) for holder, children in inside.items()}
    kinds = {holder: {WORDS[word] for word in children.values()} for holder, children in words.items()}
    return {holder: words[holder] for holder, splits in kinds.items() if "train" in splits and len(splits) > 1}
