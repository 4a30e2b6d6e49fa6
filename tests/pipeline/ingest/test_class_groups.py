"""Large sources are shared out by class: what a task guesses of the training rows, and how parts are cut."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cache import layout as cache_layout
from pipeline.config.params import read_params
from pipeline.config.prepare import PrepareConfig
from pipeline.ingest import class_groups
from pipeline.ingest.class_groups import TrainingOrder, class_starts, classes_per_part, plan_groups
from pipeline.ingest.layouts import Layout, Placement
from pipeline.ingest.split import SplitRule, split_rows
from pipeline.ingest.split_folders import Structure

CLONE = Path(__file__).parents[3]


def settings(*overrides: str) -> PrepareConfig:
    chosen = ["prepare.size=16", "prepare.val=0.1", "prepare.test=0.2", *(f"prepare.{name}" for name in overrides)]
    return read_params(CLONE / "params.yaml", chosen).prepare


def layout_of(labels: np.ndarray) -> Layout:
    names = [f"{number:04d}.png" for number in range(len(labels))]
    classes = tuple(f"c{number}" for number in range(int(labels.max()) + 1))
    held = np.zeros(len(labels), dtype=np.int8)
    return Layout(Placement("", Structure()), names, labels, held, classes, {}, {})


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sets of more than 16 images are large, in parts of 8."""
    monkeypatch.setattr(cache_layout, "PART_ROWS", {"images": 8, "features": 8})
    monkeypatch.setattr(cache_layout, "LARGE_PARTS", 2)


@pytest.mark.parametrize(
    ("sizes", "starts"),
    [
        ((8, 8), [0, 8]),
        ((20, 3), [0, 8, 16, 20]),
        ((1, 1, 1, 1, 1), [0]),
        ((4, 4, 4, 4), [0, 8]),
        ((9, 1, 1, 1), [0, 8, 10]),  # two classes per part on average
    ],
)
def test_parts_begin_with_classes_and_hold_no_more_rows_than_they_may(
    sizes: tuple[int, ...], starts: list[int]
) -> None:
    labels = np.repeat(np.arange(len(sizes)), sizes)
    assert class_starts(labels, len(sizes), 8).tolist() == starts


def test_there_are_at_most_three_times_as_many_parts_as_full_ones() -> None:
    random = np.random.default_rng(0)
    for _ in range(200):
        sizes = random.integers(1, random.integers(2, 60), random.integers(1, 200))
        labels = np.repeat(np.arange(len(sizes)), sizes)
        starts = class_starts(labels, len(sizes), 8)
        lengths = np.diff([*starts, len(labels)])
        assert starts[0] == 0 and lengths.min() >= 1 and lengths.max() <= 8
        assert len(starts) <= 3 * len(labels) / 8 + 1


def test_one_more_image_moves_no_part_of_another_class() -> None:
    labels = np.repeat(np.arange(6), [20, 13, 18, 16, 12, 17])
    more = np.sort(np.append(labels, 2))
    before = [part.tolist() for part in np.split(labels, class_starts(labels, 6, 8)[1:])]
    after = [part.tolist() for part in np.split(more, class_starts(more, 6, 8)[1:])]
    assert [part for part in before if 2 not in part] == [part for part in after if 2 not in part]


def test_classes_per_part() -> None:
    assert [classes_per_part(rows, 100, 512) for rows in (51_200, 51_201, 10_000, 1, 10**9)] == [1, 1, 5, 51_200, 1]


def test_a_large_source_is_grouped_by_class_whatever_the_order_of_names(small_parts: None) -> None:
    labels = np.random.default_rng(1).permutation(np.repeat(np.arange(4), [20, 10, 12, 30]))
    groups = plan_groups(layout_of(labels), settings())
    assert np.sort(np.concatenate([group.slots for group in groups])).tolist() == list(range(72))
    assert [np.unique(labels[group.slots]).tolist() for group in groups] == [[0], [1], [2], [3]]
    assert [group.training for group in groups] == [14, 7, 9, 21]
    assert [len(group.order.labels) for group in groups if group.order] == [20, 10, 12, 30]


def test_what_is_small_or_cannot_be_guessed_or_held_is_cut_by_position(
    small_parts: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = np.repeat(np.arange(4), [20, 10, 12, 30])
    monkeypatch.setattr(class_groups, "MOST", 25)
    imbalanced = settings("imbalance={classes: 2, largest: 5, smallest: 5, shape: 1}")
    for config, chosen in ((imbalanced, labels), (settings("limit_per_class=4"), labels), (settings(), labels[:20])):
        groups = plan_groups(layout_of(chosen), config)
        assert [len(group.slots) for group in groups] == [25, 25, 22][: 3 if len(chosen) > 25 else 0] or [20]
        assert not any(group.order or group.training for group in groups)
    monkeypatch.setattr(class_groups, "GROUP_BYTES", 20 * 16 * 16 * 3)
    groups = plan_groups(layout_of(labels), settings())
    assert [(len(group.slots), group.order is None) for group in groups] == [
        (20, False),
        (10, False),
        (12, False),
        (25, True),
        (5, True),
    ]


def order_of(labels: np.ndarray, **changes: object) -> TrainingOrder:
    held = np.zeros(len(labels), dtype=np.int8)
    order = TrainingOrder(labels, held, SplitRule(0.1, 0.2, None, 0), True, 8)
    return replace(order, **changes)  # type: ignore[arg-type]


def ids_of(count: int) -> np.ndarray:
    return np.array([b"%064x" % (number * 7919 % 10007) for number in range(count)], dtype="S64")


def test_training_rows_are_guessed_as_the_whole_source_is_split() -> None:
    labels = np.repeat([3, 5], 20)
    ids = ids_of(40)
    expected = split_rows(ids, (labels - 3) // 2, np.zeros(40, int), ("a", "b"), SplitRule("none", "none", None, 0), {})
    order = order_of(labels, rule=SplitRule("none", "none", None, 0))
    parts = order.parts(ids, np.arange(40))
    assert [len(part) for part in parts] == [8] * 5
    assert np.concatenate(parts).tolist() == expected["train"].tolist()


def test_rows_of_other_splits_copies_and_beyond_a_limit_come_last_and_unreadable_ones_nowhere() -> None:
    labels = np.repeat([0, 1], 10)
    ids = ids_of(20)
    ids[3] = ids[2]
    readable = np.delete(np.arange(20), [5, 15])
    rule = SplitRule(1, 2, 4, 0)
    parts = order_of(labels, rule=rule, rows_per_part=100).parts(ids[readable], readable)
    own = np.delete(readable, 3)  # without the copy
    train = own[split_rows(ids[own], labels[own], np.zeros(17, int), ("0", "1"), rule, {})["train"]]
    assert parts[0].tolist() == train.tolist() and len(train) == 8
    assert sorted(np.concatenate(parts).tolist()) == readable.tolist()


def test_a_class_too_small_to_split_is_no_error_of_a_task() -> None:
    parts = order_of(np.array([0, 0, 1]), rule=SplitRule(3, 3, None, 0)).parts(ids_of(3), np.arange(3))
    assert [part.tolist() for part in parts] == [[0, 1, 2]]
    assert order_of(np.zeros(2, int)).parts(np.empty(0, "S64"), np.empty(0, int)) == []
