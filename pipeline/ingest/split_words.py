"""Names of folders that name a split, in any case and in the usual forms.

`Train`, `TRAINING`, `train_set`, `TrainSet`, `seg_train`, `val2017`, `Validation`, `dev`, `Testing`.
"""

import re
from collections import defaultdict
from collections.abc import Collection

UNLABELLED = "unlabelled"
WORDS = {
    **dict.fromkeys(("train", "training", "trn", "trainval"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "validate", "dev", "development", "eval", "evaluation"), "val"),
    **dict.fromkeys(("test", "testing", "tst"), "test"),
    **dict.fromkeys(("pred", "predict", "prediction", "unlabelled", "unlabeled", "submission"), UNLABELLED),
}
# Words beside a split's that say nothing: train_set, test-images, val_data.
FILLERS = frozenset(
    {"set", "data", "dataset", "split", "folder", "images", "image", "imgs", "img", "photos", "pictures", "pics"}
)
PIECES = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|[^\W\d_A-Za-z]+")


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


def split_words(folders: Collection[str]) -> dict[str, str]:
    """The split word of each folder that is named like a split: alone, or with words that another split has too."""
    parsed = {folder: split_word(folder) for folder in folders}
    splits_of: dict[tuple[str, ...], set[str]] = defaultdict(set)
    for word, others in parsed.values():
        if word:
            splits_of[others].add(WORDS[word])
    return {
        folder: word for folder, (word, others) in parsed.items() if word and (not others or len(splits_of[others]) > 1)
    }
