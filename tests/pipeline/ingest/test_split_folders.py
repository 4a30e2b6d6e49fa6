import pytest

from cache.errors import InputError
from pipeline.ingest.split_folders import Structure, find_structure

CLASSES = ("cat", "dog")


def tree(*folders: str) -> list[str]:
    return [f"{folder}/{number}.png" for folder in folders for number in range(2)]


def splits(*tops: str, classes: tuple[str, ...] = CLASSES) -> list[str]:
    return tree(*(f"{top}/{label}" for top in tops for label in classes))


def located(names: list[str], reading: str = "auto") -> set[tuple[str, str]]:
    structure = find_structure(names, reading, False)  # type: ignore[arg-type]
    return {structure.locate(name) for name in names}


@pytest.mark.parametrize(
    ("train", "held", "split"),
    [
        ("Train", "Test", "test"),
        ("Training", "Testing", "test"),
        ("TRAIN", "VAL", "val"),
        ("seg_train", "seg_test", "test"),
        ("seg_train/seg_train", "seg_test/seg_test", "test"),
        ("train_set", "test_set", "test"),
        ("train", "Validation", "val"),
        ("train", "valid", "val"),
        ("train", "dev", "val"),
        ("train", "eval", "val"),
        ("train2017", "val2017", "val"),
        ("train/images", "test/images", "test"),
        ("training_images", "test_images", "test"),
        ("asl_alphabet_train/asl_alphabet_train", "asl_alphabet_test/asl_alphabet_test", "test"),
        ("pets-train", "pets-test", "test"),
        ("trainval", "test", "test"),
    ],
)
def test_split_folders_in_the_usual_spellings_are_splits(train: str, held: str, split: str) -> None:
    expected = {(where, label) for where in ("train", split) for label in CLASSES}
    assert located(splits(train, held)) == expected


def test_splits_below_each_class_are_splits() -> None:
    names = splits("cat", "dog", classes=("Train", "Val", "Test"))
    assert located(names) == {(split, label) for split in ("train", "val", "test") for label in CLASSES}


@pytest.mark.parametrize("label", ["train", "test", "val", "Training", "train station"])
def test_a_class_may_be_called_like_a_split(label: str) -> None:
    assert located(tree("bus", "car", label)) == {("train", "bus"), ("train", "car"), ("train", label)}
    held = splits("train", "test", classes=("bus", "car", label))
    assert {classes for split, classes in located(held) if split == "test"} == {"bus", "car", label}


def test_folders_that_hold_one_folder_each_are_classes_whatever_their_names() -> None:
    assert {label for _, label in located(tree("bus/images", "train/images"))} == {"bus", "train"}


@pytest.mark.parametrize(
    ("names", "line"),
    [
        (tree("train", "test"), "folders named like splits .test, train. hold fewer than two class folders"),
        (tree("Train", "TEST", "Validation"), "hold fewer than two class folders.*prepare.layout"),
        (tree("train", "test", "sample"), "hold fewer than two class folders.*prepare.layout"),
        (tree("trainA", "trainB", "testA", "testB"), "hold fewer than two class folders.*prepare.layout"),
        (splits("bus", "train"), r"hold folders, but stand beside others \(bus\).*prepare.layout"),
        (tree("cat", "dog") + splits("test"), r"hold folders that stand beside them too \(cat, dog\).*a folder train"),
        (splits("train", "val", "eval"), "folders named eval and val are one split by their names"),
        (splits("test", "val"), "has no folder train.* found test, val. Add it, or set prepare.layout to classes"),
        (splits("fold1", "fold2"), "hold the same folders cat, dog, so they may be parts or classes.*prepare.layout"),
        (splits("Trainingsdaten", "Testdaten"), "hold the same folders cat, dog.*Rename splits to train, val and test"),
        (splits("cat", classes=("train", "test")) + tree("dog"), "folder cat holds splits .*; found dog"),
        (
            splits("images/train", "images/test") + tree("extra"),
            "folder images holds splits .*; found extra. Name imag",
        ),
        (splits("a/b/train", "a/b/test", "c"), "folder a/b holds splits .*; found c/cat, c/dog. Name a/b in prepare"),
    ],
)
def test_what_may_be_splits_or_classes_is_refused_with_a_remedy(names: list[str], line: str) -> None:
    with pytest.raises(InputError, match=line):
        find_structure(names, "auto", False)


def test_the_reading_can_be_chosen() -> None:
    names = splits("bus", "train")
    assert located(names, "classes") == {("train", "bus"), ("train", "train")}
    assert located(names, "splits") == {("train", ""), ("train", "cat"), ("train", "dog")}
    below = splits("cat", "dog", classes=("train", "test"))
    assert located(below, "splits") == located(below)
    with pytest.raises(InputError, match="has no folder train"):
        located(tree("a", "b"), "splits")


def test_annotated_folders_are_splits() -> None:
    assert find_structure(tree("train/a", "train/b", "val/images"), "auto", True).splits == {
        "train": "train",
        "val": "val",
    }


def test_a_structure_locates_any_file() -> None:
    assert Structure().locate("a/b/c.txt") == ("train", "a")
    assert Structure().locate("c.txt") == ("train", "")
