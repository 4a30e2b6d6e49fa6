"""Which folders are the source's own splits, and which are classes: by their names and by what lies in them.

A folder is named like a split in any case and in the usual forms: `Train`, `TRAINING`, `train_set`, `seg_train`,
`val2017`, `Validation`, `dev`, `Testing`. A class may be called `train` too. So a name alone decides nothing: folders
are splits if they hold class folders, and classes if they hold images. If both fit, the source is refused.
"""

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from cache.errors import InputError

UNLABELLED = "unlabelled"
WORDS = {
    **dict.fromkeys(("train", "training", "trn"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "validate", "dev", "development", "eval", "evaluation"), "val"),
    **dict.fromkeys(("test", "testing", "tst"), "test"),
    **dict.fromkeys(("pred", "predict", "prediction", "unlabelled", "unlabeled", "submission"), UNLABELLED),
}
# Words beside a split's that say nothing: train_set, test-images, val_data.
FILLERS = frozenset(
    {"set", "data", "dataset", "split", "folder", "images", "image", "imgs", "img", "photos", "pictures", "pics"}
)
PIECES = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|[^\W\d_A-Za-z]+")
NUMBERED = re.compile(r"(fold|part|batch|shard|chunk|split|cv)[\W_]*\d+", re.IGNORECASE)

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


def split_word(folder: str) -> tuple[str, tuple[str, ...]]:
    """The word in a folder's name that names a split, and the other words; an empty word if there is not just one."""
    pieces = [_without_filler(piece.lower()) for piece in PIECES.findall(folder)]
    words = [piece for piece in pieces if piece in WORDS]
    if len(words) != 1:
        return "", ()
    return words[0], tuple(piece for piece in pieces if piece not in FILLERS and piece not in WORDS)


def _without_filler(piece: str) -> str:
    """`trainset` as `train`."""
    ends = (piece.removesuffix(filler) for filler in FILLERS if piece.endswith(filler))
    return next((end for end in ends if end in WORDS), piece)


def find_structure(names: Collection[str], reading: Reading, annotated: bool) -> Structure:
    """Decide what the folders of images are. annotated: a file gives the labels of the folder val.

    Raises InputError if both readings fit, or if neither does.
    """
    if reading == "classes":
        return Structure()
    inside = _folders_inside(names)
    words = _split_words(inside)
    if reading == "splits":
        return _as_splits(names, words)
    if words and (annotated or _tops_are_splits(names, words, set(inside) - set(words))):
        return _as_splits(names, words)
    _refuse_numbered(inside)
    return _splits_below_classes(names) or Structure()


def shared_folders(names: Collection[str]) -> str:
    """The folders that all names share, with a `/` at the end; empty if there are none."""
    first, last = min(names), max(names)
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


def _split_words(folders: Collection[str]) -> dict[str, str]:
    """The split word of each folder that is named like a split: alone, or with words that another split has too."""
    parsed = {folder: split_word(folder) for folder in folders}
    splits_of: dict[tuple[str, ...], set[str]] = defaultdict(set)
    for word, others in parsed.values():
        if word:
            splits_of[others].add(WORDS[word])
    return {
        folder: word for folder, (word, others) in parsed.items() if word and (not others or len(splits_of[others]) > 1)
    }


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


def _refuse_numbered(inside: Mapping[str, set[str]]) -> None:
    """Raise InputError for folds and parts that all hold the same class folders."""
    common = set.intersection(*inside.values()) if inside else set()
    if len(common) > 1 and all(NUMBERED.fullmatch(top) for top in inside):
        raise InputError(
            f"folders {some(inside)} hold the same folders {some(common)}, so they may be parts or classes",
            remedy="Put the class folders of all of them together, or set prepare.layout to classes.",
        )


def _splits_below_classes(names: Collection[str]) -> Structure | None:
    """<class>/train/* and <class>/test/*, if all images lie like that. Raises InputError if only some do."""
    paths = [name.split("/")[:-1] for name in names]
    words = _split_words({folders[1] for folders in paths if len(folders) > 1})
    splits_in: dict[str, set[str]] = defaultdict(set)
    for folders in paths:
        word = words.get(folders[1], "") if len(folders) > 1 else ""
        splits_in[folders[0] if folders else ""].add(WORDS.get(word, ""))
    holders = {top for top, splits in splits_in.items() if "train" in splits and len(splits - {""}) > 1}
    if not holders:
        return None
    deeper = any(len(folders) > 2 and folders[0] in holders for folders in paths)
    if not deeper and not any("" in splits for splits in splits_in.values()):
        return Structure({folder: WORDS[word] for folder, word in words.items()}, below_classes=True)
    holder = min(holders)
    beside = {top or "images in no folder" for top in splits_in if top != holder}
    raise InputError(
        f"folder {holder} holds splits ({some(words)}), but other images lie beside it",
        found=some(beside) or None,
        remedy=f"Name {holder} in prepare.source, take the others away, or set prepare.layout to classes.",
    )
