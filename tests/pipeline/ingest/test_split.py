import hashlib
from dataclasses import replace

import numpy as np
import pytest

from cache.errors import InputError
from pipeline.config.prepare import ImbalanceConfig
from pipeline.ingest.split import (
    TEST,
    SplitRule,
    explain_losses,
    find_duplicates,
    imbalanced_rows,
    refuse_duplicates,
    split_rows,
)

RULE = SplitRule(val=0.1, test=0.2, limit_per_class=None, seed=0)
CLASSES = ("ant", "bee", "cow")


def ids_of(names: list[str]) -> np.ndarray:
    return np.array([hashlib.sha256(name.encode()).hexdigest() for name in names], dtype="S64")


def columns(per_class: tuple[int, ...] = (100, 50, 10)) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    labels = np.repeat(np.arange(len(per_class)), per_class)
    return ids_of([str(n) for n in range(len(labels))]), labels, np.zeros(len(labels), dtype=np.int8)


def chosen(rule: SplitRule = RULE, drop: int | None = None, order: np.ndarray | None = None) -> dict[str, set[bytes]]:
    ids, labels, held = columns()
    keep = np.arange(len(ids)) if order is None else order
    keep = keep[keep != drop]
    rows = split_rows(ids[keep], labels[keep], held[keep], CLASSES, rule, {})
    return {split: set(ids[keep][index].tolist()) for split, index in rows.items()}


def test_split_keeps_class_proportions() -> None:
    ids, labels, held = columns()
    rows = split_rows(ids, labels, held, CLASSES, RULE, {})
    counts = {split: np.bincount(labels[index]).tolist() for split, index in rows.items()}
    assert counts == {"train": [70, 35, 7], "val": [10, 5, 1], "test": [20, 10, 2]}


def test_every_image_is_in_one_split() -> None:
    rows = split_rows(*columns(), CLASSES, RULE, {})
    assert sorted(np.concatenate(list(rows.values())).tolist()) == list(range(160))


def test_the_choice_does_not_depend_on_the_order_of_files() -> None:
    assert chosen() == chosen(order=np.random.default_rng(0).permutation(160))


def test_another_seed_chooses_others() -> None:
    assert chosen()["test"] != chosen(replace(RULE, seed=1))["test"]


def test_one_photo_less_moves_at_most_one_image_over_each_boundary() -> None:
    before = chosen()
    for drop in range(0, 160, 7):
        after = chosen(drop=drop)
        assert all(len(after[split] - before[split]) <= 1 for split in before)


def test_val_does_not_change_test() -> None:
    assert chosen()["test"] == chosen(replace(RULE, val=5))["test"] == chosen(replace(RULE, val="none"))["test"]


def test_limit_counts_training_images_after_splitting_and_grows_by_adding() -> None:
    four = chosen(replace(RULE, limit_per_class=4))
    six = chosen(replace(RULE, limit_per_class=6))
    assert (len(four["train"]), len(six["train"])) == (12, 18)
    assert four["train"] < six["train"]
    assert four["test"] == chosen()["test"]


def test_a_count_is_per_class_and_none_makes_no_split() -> None:
    rows = chosen(SplitRule(val="none", test=3, limit_per_class=None, seed=0))
    assert {split: len(index) for split, index in rows.items()} == {"train": 151, "test": 9}


def test_official_splits_are_taken_whole() -> None:
    ids, labels, held = columns()
    held[:5] = 2
    held[100:103] = 2
    held[155] = 2
    rows = split_rows(ids, labels, held, CLASSES, replace(RULE, test="official"), {})
    assert sorted(rows["test"].tolist()) == [*range(5), *range(100, 103), 155]
    assert len(rows["val"]) == 10 + 5 + 1


def test_rows_are_sorted_by_class() -> None:
    _, labels, _ = columns()
    for index in split_rows(*columns(), CLASSES, RULE, {}).values():
        assert (np.diff(labels[index]) >= 0).all()


@pytest.mark.parametrize(
    ("rule", "line"),
    [
        (
            replace(RULE, val=5, test=5),
            r"class cow: too few images to split; expected more than 5 test \+ 5 val, found 10",
        ),
        (replace(RULE, val="none", test="official"), "class ant: no official test image is left"),
    ],
)
def test_a_class_without_images_is_refused(rule: SplitRule, line: str) -> None:
    with pytest.raises(InputError, match=line):
        split_rows(*columns(), CLASSES, rule, {})


def test_small_classes_hold_out_at_least_one() -> None:
    rows = split_rows(*columns((3, 3, 3)), CLASSES, RULE, {})
    assert {split: len(index) for split, index in rows.items()} == {"train": 3, "val": 3, "test": 3}


def test_of_copies_in_one_class_the_held_out_one_stays() -> None:
    ids = ids_of(["a", "b", "a", "a", "c"])
    duplicates = find_duplicates(ids, np.zeros(5, dtype=int), np.array([0, 0, 2, 1, 0], dtype=np.int8))
    assert duplicates.kept.tolist() == [1, 2, 4]
    assert (duplicates.groups, duplicates.removed) == ([[2, 3, 0]], 2)


def test_the_first_name_stays_where_none_is_held_out() -> None:
    duplicates = find_duplicates(ids_of(["b", "a", "b", "a"]), np.zeros(4, dtype=int), np.zeros(4, dtype=np.int8))
    assert duplicates.groups == [[0, 2], [1, 3]]


def test_copies_of_conflicting_labels_are_all_removed() -> None:
    duplicates = find_duplicates(ids_of(["a", "b", "a"]), np.array([0, 0, 1]), np.array([2, 0, 0], dtype=np.int8))
    assert (duplicates.kept.tolist(), duplicates.conflicting, duplicates.removed) == ([1], [[0, 2]], 2)


def test_no_images_have_no_duplicates() -> None:
    duplicates = find_duplicates(np.empty(0, dtype="S64"), np.empty(0, dtype=int), np.empty(0, dtype=np.int8))
    assert (len(duplicates.kept), duplicates.removed) == (0, 0)


def test_duplicates_can_be_refused() -> None:
    names = ["x/1.png", "x/2.png", "x/3.png"]
    labels = np.zeros(3, dtype=int)
    held = np.zeros(3, dtype=np.int8)
    refuse_duplicates(find_duplicates(ids_of(["a", "b", "c"]), labels, held), names)
    with pytest.raises(InputError, match=r"pixels repeat; 1 images would be removed; found x/1.png and x/3.png"):
        refuse_duplicates(find_duplicates(ids_of(["a", "b", "a"]), labels, held), names)


def test_what_a_class_has_lost_is_explained() -> None:
    ids = ids_of(["a", "b", "c", "a", "b", "d", "d", "e"])
    labels = np.array([0, 0, 0, 1, 1, 2, 2, 2])
    names = ["ant/0", "ant/1", "ant/2", "bee/0", "bee/1", "cow/0", "cow/1", "cow/2"]
    duplicates = find_duplicates(ids, labels, np.zeros(8, dtype=np.int8))
    losses = explain_losses(labels, CLASSES, duplicates, np.array([0, 3, 0]), names)
    conflict = "2 have the same pixels as images of other classes, such as"
    assert losses == {
        "ant": f"of its 3 images, {conflict} ant/0 and bee/0",
        "bee": f"of its 5 images, {conflict} bee/0 and ant/0, 3 cannot be read",
        "cow": "of its 3 images, 1 are copies",
    }


@pytest.mark.parametrize(
    ("rule", "cow_images", "line"),
    [
        (RULE, 0, "too few images to split; .* found 0: LOSS. Keep every image in one class"),
        (replace(RULE, test="official"), 3, "no official test image is left: LOSS. Keep every image in one class"),
    ],
)
def test_an_emptied_class_is_refused_with_its_cause(rule: SplitRule, cow_images: int, line: str) -> None:
    labels = np.array([0, 0, 0, 0] + [1] * cow_images)
    held = np.array([0, 0, 0, TEST] + [0] * cow_images)
    ids = ids_of([str(number) for number in range(len(labels))])
    loss = "of its 3 images, 3 cannot be read"
    with pytest.raises(InputError, match="class cow: " + line.replace("LOSS", loss)):
        split_rows(ids, labels, held, ("ant", "cow"), rule, {"cow": loss})


LAW = ImbalanceConfig(classes=None, largest=40, smallest=10, shape=1)


def test_the_law_of_imbalance_is_a_line_or_a_curve_from_largest_to_smallest() -> None:
    ids, labels, held = columns((50,) * 4)
    for shape, sizes in ((1, [10, 20, 30, 40]), (2, [10, 27, 37, 40])):
        rows, numbers = imbalanced_rows(ids, labels, held, "abcd", LAW.model_copy(update={"shape": shape}), 0)
        assert numbers == [0, 1, 2, 3]
        assert sorted(np.bincount(labels[rows])) == sizes
    rows, numbers = imbalanced_rows(ids, labels, held, "abcd", LAW.model_copy(update={"classes": 2}), 0)
    assert len(numbers) == 2 and sorted(np.bincount(labels[rows])[numbers]) == [10, 40]


def test_imbalance_is_drawn_by_seed_and_content_and_spares_official_images() -> None:
    ids, labels, held = columns((50,) * 4)
    held[:5] = TEST
    rows, _ = imbalanced_rows(ids, labels, held, "abcd", LAW, 0)
    assert set(range(5)) <= set(rows.tolist())
    order = np.random.default_rng(0).permutation(len(ids))
    again, _ = imbalanced_rows(ids[order], labels[order], held[order], "abcd", LAW, 0)
    assert set(ids[order][again]) == set(ids[rows])
    other, _ = imbalanced_rows(ids, labels, held, "abcd", LAW, 1)
    assert not np.array_equal(other, rows)


def test_imbalance_beyond_what_is_there_is_refused() -> None:
    ids, labels, held = columns((50, 30, 50, 50))
    with pytest.raises(InputError, match=r"class b: too few images for prepare.imbalance; expected \d+, found 30"):
        imbalanced_rows(ids, labels, held, "abcd", LAW.model_copy(update={"smallest": 39}), 0)
    with pytest.raises(InputError, match="too few classes"):
        imbalanced_rows(ids, labels, held, "abcd", LAW.model_copy(update={"classes": 9}), 0)
