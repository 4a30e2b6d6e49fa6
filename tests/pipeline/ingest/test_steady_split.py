"""Corrections of labels move no image between splits, unless a class would have none left in one."""

import hashlib
from dataclasses import replace

import numpy as np
import pytest

from cache.errors import InputError
from pipeline.ingest.split import TEST, SplitRule, split_rows
from pipeline.ingest.steady_split import FormerImages, SteadySplit, split_steadily

RULE = SplitRule(val=0.1, test=0.2, limit_per_class=None, seed=0)
CLASSES = ("ant", "bee", "cow")
COUNT = 120


def images(count: int = COUNT) -> FormerImages:
    ids = np.array([hashlib.sha256(str(number).encode()).hexdigest() for number in range(count)], dtype="S64")
    return FormerImages(ids, np.repeat(np.arange(3), count // 3), np.zeros(count, dtype=np.int8))


def corrected(
    wrong: dict[int, int], dropped: list[int], rule: SplitRule = RULE, former: FormerImages | None = None
) -> tuple[SteadySplit, FormerImages]:
    """wrong: the right class by row."""
    former = former or images()
    labels = former.labels.copy()
    labels[list(wrong)] = list(wrong.values())
    stays = np.setdiff1d(np.arange(len(labels)), dropped)
    present = former.take(stays)
    gone = former.take(np.array(dropped, dtype=np.int64))
    return split_steadily(present, gone, labels[stays], CLASSES, rule), present


def split_of(rows: dict[str, np.ndarray], ids: np.ndarray) -> dict[bytes, str]:
    return {image: split for split, index in rows.items() for image in ids[index].tolist()}


def before(rule: SplitRule = RULE) -> dict[bytes, str]:
    former = images()
    return split_of(split_rows(former.ids, former.labels, former.held, CLASSES, rule, {}), former.ids)


@pytest.mark.parametrize("seed", range(5))
def test_no_image_moves_however_many_are_relabelled_or_left_out(seed: int) -> None:
    random = np.random.default_rng(seed)
    chosen = random.permutation(COUNT)[:30]
    wrong = {int(row): int(random.integers(3)) for row in chosen[:20]}
    steady, present = corrected(wrong, chosen[20:].tolist())
    now = split_of(steady.rows, present.ids)
    assert now == {image: split for image, split in before().items() if image in now}
    assert len(now) == COUNT - 10 and steady.moved == {}


def test_splitting_by_corrected_labels_would_have_moved_some() -> None:
    """What the rule is for: a class of one image more holds out another one."""
    former = images()
    labels = former.labels.copy()
    labels[:13] = 1
    again = split_of(split_rows(former.ids, labels, former.held, CLASSES, RULE, {}), former.ids)
    assert again != before()


def test_rows_are_ordered_by_corrected_class_and_then_as_without_corrections() -> None:
    steady, present = corrected({0: 2, 50: 0, 100: 1}, [3])
    labels = present.labels.copy()
    for row, label in {0: 2, 50: 0, 100: 1}.items():
        labels[np.flatnonzero(present.ids == images().ids[row])] = label
    for index in steady.rows.values():
        ranks = [hashlib.sha256(b"0:" + image).hexdigest() for image in present.ids[index].tolist()]
        assert sorted(zip(labels[index], ranks, strict=True)) == list(zip(labels[index], ranks, strict=True))


def test_corrections_that_say_nothing_change_nothing() -> None:
    former = images()
    steady, _ = corrected({}, [])
    for split, rows in split_rows(former.ids, former.labels, former.held, CLASSES, RULE, {}).items():
        assert steady.rows[split].tolist() == rows.tolist()


def test_a_class_without_an_image_in_a_split_gets_one() -> None:
    former = images()
    splits = before()
    val = [row for row in range(40) if splits[former.ids[row]] == "val"]
    steady, present = corrected(dict.fromkeys(val, 1), [])
    ((row, split),) = steady.moved.items()
    assert (split, CLASSES[former.labels[row]]) == ("val", "ant")
    now = split_of(steady.rows, present.ids)
    assert {image for image in now if now[image] != splits[image]} == {present.ids[row]}
    assert splits[present.ids[row]] == "train"


def test_a_class_that_is_too_small_to_give_one_is_refused() -> None:
    few = [row for row in range(40) if row != 7]
    with pytest.raises(InputError, match=r"class ant: too few images to split; expected one image in \w+, found none"):
        corrected({}, few)


def test_official_splits_get_no_image_of_train() -> None:
    former = images()
    former = replace(former, held=np.where(np.arange(COUNT) % 4 == 0, TEST, 0).astype(np.int8))
    rule = replace(RULE, test="official")
    steady, present = corrected({1: 2}, [4], rule, former)
    assert set(present.ids[steady.rows["test"]].tolist()) == set(former.ids[former.held == TEST].tolist()) - {
        former.ids[4]
    }
    with pytest.raises(InputError, match="class ant: no official test image is left"):
        corrected(dict.fromkeys(range(0, 40, 4), 1), [], rule, former)


def test_a_copy_that_is_no_longer_of_its_class_still_holds_its_place() -> None:
    """Rows 0 and 1 are copies; as one of them is relabelled, none of both is kept."""
    former = images()
    ids = former.ids.copy()
    ids[1] = ids[0]
    former = replace(former, ids=ids)
    gone = former.gone(kept=ids[2:], removes_copies=True)
    assert gone.ids.tolist() == [ids[0]]
    assert former.gone(kept=ids[2:], removes_copies=False).ids.tolist() == [ids[0], ids[0]]
