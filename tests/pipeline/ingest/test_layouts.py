import pytest

from cache.errors import InputError
from pipeline.ingest.layouts import match_layout, read_annotations

TINY = [
    *(f"tiny/train/{wnid}/images/{wnid}_{n}.JPEG" for wnid in ("n01", "n02") for n in range(2)),
    *(f"tiny/val/images/val_{n}.JPEG" for n in range(3)),
    "tiny/test/images/test_0.JPEG",
]
NOTES = {"tiny/val/val_annotations.txt": "val_0.JPEG\tn02\t0\t0\t9\t9\nval_1.JPEG\tn01\t1\t1\t2\t2\n"}


def by_name(names: list[str], wanted: set[str], notes: dict[str, str] | None = None) -> dict[str, tuple[str, int]]:
    layout = match_layout(names, notes or {}, wanted)
    return {
        name: (layout.classes[label], int(held))
        for name, label, held in zip(layout.names, layout.labels, layout.held, strict=True)
    }


def test_class_folders_are_classes_by_name() -> None:
    assert by_name(["x/dog/1.png", "x/cat/deep/er/2.png"], {"train"}) == {
        "cat/deep/er/2.png": ("cat", 0),
        "dog/1.png": ("dog", 0),
    }


def test_folders_that_all_images_share_are_left_off() -> None:
    names = ["cat/1.png", "cow/1.png"]
    assert by_name([f"data/set/{name}" for name in names], {"train"}) == by_name(names, {"train"})
    assert by_name([f"train/{name}" for name in names], {"train"}) == by_name(names, {"train"})


def test_train_and_test_folders_are_official_splits() -> None:
    names = [f"{split}/{label}/1.png" for split in ("train", "test", "valid") for label in "ab"]
    located = by_name(names, {"train", "val", "test"})
    assert [located[f"{split}/b/1.png"] for split in ("train", "valid", "test")] == [("b", 0), ("b", 1), ("b", 2)]


def test_tiny_imagenet_validation_images_are_the_official_test() -> None:
    layout = match_layout(TINY, NOTES, {"train", "test"})
    assert by_name(TINY, {"train", "test"}, NOTES)["val/images/val_0.JPEG"] == ("n02", 2)
    assert layout.unplaced == {"val/images/val_2.JPEG": "lies in no class folder"}
    assert layout.left_out == {"unlabelled": 1}


def test_official_splits_that_are_not_asked_for_are_left_out_and_counted() -> None:
    layout = match_layout(TINY, NOTES, {"train"})
    assert (len(layout.names), layout.left_out) == (4, {"test": 3, "unlabelled": 1})


def test_images_outside_class_folders_are_named() -> None:
    assert match_layout(["a/1.png", "b/1.png", "c.png"], {}, {"train"}).unplaced == {"c.png": "lies in no class folder"}
    names = ["train/a/1.png", "train/b/1.png", "train/2.png", "more/a/3.png"]
    beside = match_layout(names, {}, {"train"}, "splits")
    assert set(beside.unplaced) == {"train/2.png", "more/a/3.png"}


def test_split_folders_in_any_spelling_are_official_splits() -> None:
    names = [f"{split}/{label}/1.png" for split in ("Training", "TESTING", "Validation") for label in "ab"]
    expected = {"Training": 0, "Validation": 1, "TESTING": 2}
    assert by_name(names, {"train", "val", "test"}) == {
        f"{folder}/{label}/1.png": (label, held) for folder, held in expected.items() for label in "ab"
    }


def test_a_class_called_train_is_a_class_and_told() -> None:
    layout = match_layout([f"{label}/1.png" for label in ("bus", "car", "train")], {}, {"train"})
    assert layout.classes == ("bus", "car", "train")
    assert layout.remarks == [
        "folder train is read as a class, not as a split; prepare.layout=splits reads it as a split"
    ]


@pytest.mark.parametrize(
    ("names", "remark"),
    [
        (["Cat/1.png", "cat/1.png"], "classes 'Cat' and 'cat' look alike and are read as 2 classes"),
        (["cat /1.png", "cat/1.png"], "classes 'cat' and 'cat ' look alike and are read as 2 classes"),
        (["c\u200dat/1.png", "cat/1.png"], r"classes 'cat' and 'c\u200dat' look alike and are read as 2 classes"),
        (["a/x/1.png", "a/y/1.png", "b/x/1.png", "b/y/1.png"], "every class folder holds x, y; are those the classes?"),
        (
            ["cat/dog/1.png", "cat/2.png", "dog/3.png"],
            "images in folders dog below cat (1) are read as cat, after the outer folder's name",
        ),
    ],
)
def test_what_may_have_been_meant_otherwise_is_told(names: list[str], remark: str) -> None:
    (told,) = match_layout(names, {}, {"train"}).remarks
    assert told.startswith(remark)


@pytest.mark.parametrize(
    ("names", "wanted", "line"),
    [
        ([], {"train"}, "holds no images; expected <class>/"),
        (["1.png", "2.png"], {"train"}, "too few classes.* found none, and 2 images in no class folder"),
        (["cat/1.png", "x.png"], {"train"}, r"too few classes.* found 1 \(cat\)"),
        (["test/a/1.png", "val/a/1.png"], {"train"}, "has no folder train.* found test, val"),
        (["a/1.png", "b/1.png"], {"train", "test"}, r"has no official test images.*prepare.test a fraction"),
        (["train/a/1.png", "train/b/1.png", "test/c/1.png"], {"train", "test"}, "classes that train has not; found c"),
        (["train/a/1.png", "train/b/1.png", "test/a/1.png"], {"train", "test"}, "no official test image; found b"),
        (TINY, {"train", "val"}, "has no folder|has no official val images|too few"),
    ],
)
def test_what_fits_no_layout_is_refused(names: list[str], wanted: set[str], line: str) -> None:
    notes = NOTES if names is TINY else {}
    with pytest.raises(InputError, match=line):
        match_layout(names, notes, wanted)


def test_an_annotation_without_a_class_is_refused() -> None:
    assert read_annotations("a.png\tcat\n\nb.png\tdog\t1\n") == {"a.png": "cat", "b.png": "dog"}
    with pytest.raises(InputError, match=r"val_annotations.txt line 2: .* found 'b.png'"):
        read_annotations("a.png\tcat\nb.png\n")
