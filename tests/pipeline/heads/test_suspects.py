"""Suspects are what the published definition says, and wrong labels are among them."""

import numpy as np
import pytest

from pipeline.heads.cross_validation import cross_validate, is_affordable, learning_curve
from pipeline.heads.suspects import (
    ENOUGH,
    LIKELY,
    Decisions,
    confident_joint,
    find_suspects,
    rows_to_review,
    share_wrong,
)


def clouds(per_class: int = 60, classes: int = 3, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Well separated normal clouds: features float32 [n, 8], labels int64 [n]."""
    random = np.random.default_rng(seed)
    labels = np.repeat(np.arange(classes), per_class)
    centres = 12 * random.standard_normal((classes, 8))
    return (centres[labels] + random.standard_normal((len(labels), 8))).astype(np.float32), labels


def test_the_confident_joint_by_hand() -> None:
    """Thresholds are (0.9 + 0.8 + 0.2) / 3 = 0.633 for class 0 and (0.6 + 0.7 + 0.3) / 3 = 0.533 for class 1.

    So the joint is [[2, 1], [1, 2]], and of three images of each label one is wrong.
    """
    first = np.array([0.9, 0.8, 0.2, 0.4, 0.3, 0.7], dtype=np.float32)
    probabilities = np.stack([first, 1 - first], axis=1)
    labels = np.array([0, 0, 0, 1, 1, 1])
    assert confident_joint(probabilities, labels).tolist() == [[2, 1], [1, 2]]
    suspects = find_suspects(probabilities, labels)
    assert suspects.rows.tolist() == [2, 5]  # the surest first: margins 0.6 and 0.4
    assert suspects.classes.tolist() == [1, 0]


def test_a_class_of_two_images_is_not_suspected() -> None:
    probabilities = np.array([[0.1, 0.9], [0.1, 0.9], [0.1, 0.9], [0.1, 0.9], [0.2, 0.8]], dtype=np.float32)
    assert find_suspects(probabilities, np.array([0, 0, 1, 1, 1])).rows.tolist() == []


@pytest.mark.parametrize("seed", range(3))
def test_wrong_labels_are_suspected_and_right_ones_are_not(seed: int) -> None:
    features, labels = clouds(seed=seed)
    random = np.random.default_rng(seed)
    wrong = random.choice(len(labels), 18, replace=False)
    noisy = labels.copy()
    noisy[wrong] = (noisy[wrong] + random.integers(1, 3, 18)) % 3
    checked = cross_validate(features, noisy, 3, 0)
    assert checked is not None
    suspects = find_suspects(checked.probabilities, noisy)
    caught = set(suspects.rows.tolist()) & set(wrong.tolist())
    assert caught == set(suspects.rows.tolist())  # the clouds are twelve deviations apart
    assert len(caught) >= 3 / 4 * len(wrong)  # how many are wrong is only estimated
    right = [labels[row] == other for row, other in zip(suspects.rows, suspects.classes, strict=True) if row in caught]
    assert all(right)


def test_what_is_suggested_is_the_likeliest_class() -> None:
    """Row 0 is confidently of class 1, whose threshold is low, and likelier still of class 2."""
    probabilities = np.array(
        [[0.1, 0.42, 0.48], [0.9, 0.05, 0.05], [0.9, 0.05, 0.05], [0.3, 0.4, 0.3], [0.3, 0.4, 0.3], [0.3, 0.4, 0.3]]
        + [[0.02, 0.03, 0.95]] * 3,
        dtype=np.float32,
    )
    labels = np.repeat(np.arange(3), 3)
    assert confident_joint(probabilities, labels)[0].tolist() == [2, 1, 0]
    suspects = find_suspects(probabilities, labels)
    assert suspects.rows.tolist() == [0] and suspects.classes.tolist() == [2]


@pytest.mark.parametrize("seed", range(3))
def test_a_few_rows_with_many_features_get_a_strong_penalty(seed: int) -> None:
    """With few rows and much noise a weak penalty learns the wrong labels by heart."""
    random = np.random.default_rng(seed)
    labels = np.repeat(np.arange(4), 40)
    centres = random.standard_normal((4, 300))
    features = (0.5 * centres[labels] + random.standard_normal((160, 300))).astype(np.float32)
    noisy = np.where(random.random(160) < 0.1, (labels + 1) % 4, labels)
    checked = cross_validate(features, noisy, 4, 0)
    assert checked is not None and checked.strength > 0.1


def test_no_row_is_predicted_by_a_head_that_has_seen_it() -> None:
    """Labels at random cannot be guessed, unless the row itself was learned."""
    random = np.random.default_rng(0)
    features = random.standard_normal((120, 200)).astype(np.float32)
    labels = np.arange(120) % 4
    checked = cross_validate(features, labels, 4, 0)
    assert checked is not None
    right = (checked.probabilities.argmax(axis=1) == labels).sum()
    assert right < 30 + 5 * np.sqrt(120 / 4 * 3 / 4)  # five standard deviations of guessing


def test_a_learning_curve_rises_with_rows_and_its_last_point_has_them_all() -> None:
    random = np.random.default_rng(0)
    labels = np.repeat(np.arange(4), 80)
    features = (random.standard_normal((4, 60))[labels] * 0.35 + random.standard_normal((320, 60))).astype(np.float32)
    curve = learning_curve(features, labels, 4, 0.01, 0)
    counts = [point.rows_per_class for point in curve]
    assert len(curve) == 4 and counts == sorted(counts)
    assert counts[-1] == pytest.approx(80 * 2 / 3, abs=0.5)  # all but the rows of a fold
    assert curve[-1].right.mean() > curve[0].right.mean()


def test_what_would_take_too_long_is_left_out() -> None:
    assert is_affordable(10_000, 1280, 10, 15)
    assert not is_affordable(10_000_000, 1280, 1000, 1)
    assert cross_validate(np.zeros((1, 4), np.float32), np.zeros(1, np.int64), 2, 0) is None


def test_rows_that_are_all_alike_tell_nothing() -> None:
    labels = np.arange(9) % 3
    checked = cross_validate(np.ones((9, 3), np.float32), labels, 3, 0)
    assert checked is not None
    assert checked.probabilities == pytest.approx(np.full((9, 3), 1 / 3))
    assert len(learning_curve(np.ones((9, 3), np.float32), labels, 3, 0.1, 0)) > 0


def test_a_suspect_is_as_probably_wrong_as_decided_images_of_like_doubt() -> None:
    """Drawn from a logistic law: the share of wrong ones rises from 0.08 to 0.92, by half at a doubt of 0.5.

    Of 400 the fitted share is known to about sqrt(2 * 0.25 / 400) = 0.035 at the middle and less at the ends.
    """
    random = np.random.default_rng(0)
    decided = random.random(400)
    wrong = random.random(400) < 1 / (1 + np.exp(-5 * (decided - 0.5)))
    shares = share_wrong(np.array([1.0, 0.5, 0.0]), decided, wrong)
    assert shares is not None
    np.testing.assert_allclose(shares, [0.924, 0.5, 0.076], atol=3 * 0.035)


def test_decisions_that_all_agree_and_too_few_of_them() -> None:
    doubts = np.array([0.9, 0.1])
    decided = np.linspace(0.5, 0.9, ENOUGH)
    nowhere = np.zeros(ENOUGH, dtype=bool)
    assert share_wrong(doubts, decided, nowhere).tolist() == [0, 0]  # type: ignore[union-attr]
    sure, hardly = share_wrong(doubts, decided, ~nowhere)  # type: ignore[misc]
    assert sure > 0.999 and hardly < 0.25
    assert share_wrong(doubts[:0], decided, decided > 0.5).tolist() == []  # type: ignore[union-attr]
    assert share_wrong(doubts, decided[1:], decided[1:] > 0.5) is None


def review_in_rounds(seed: int) -> list[tuple[float, int]]:
    """A person decides rightly about the 25 surest suspects, up to three times: after each, expected and wrong ones."""
    features, true = clouds(per_class=80, seed=seed)
    random = np.random.default_rng(seed)
    features += 12 * random.standard_normal(features.shape).astype(np.float32)
    labels = true.copy()
    noisy = random.choice(len(labels), 30, replace=False)
    labels[noisy] = (labels[noisy] + random.integers(1, 3, 30)) % 3
    former = labels.copy()
    decided, still_open = np.zeros((2, len(labels)), dtype=bool)
    rounds = []
    for _ in range(4):
        checked = cross_validate(features, labels, 3, 0)
        assert checked is not None
        reviewed = rows_to_review(checked.probabilities, labels, Decisions(former, decided, still_open))
        waiting = reviewed.rows[~decided[reviewed.rows]]
        if reviewed.shares is not None:
            expected = float(reviewed.shares[~decided[reviewed.rows]].sum())
            rounds.append((expected, int((labels != true)[waiting].sum())))
        decided[waiting[:25]] = True
        still_open[waiting] = True
        labels[decided] = true[decided]
    return rounds


def test_as_many_suspects_are_wrong_as_expected_or_fewer() -> None:
    """Over reviews of noisy data sets. Were each of the k wrong ones there by a chance of its own, their number would

    stay within three of its standard deviations, at most sqrt(k), of what is expected.
    """
    rounds = [pair for seed in range(8) for pair in review_in_rounds(seed)]
    expected, wrong = np.array(rounds).sum(axis=0)
    assert wrong <= expected + 3 * np.sqrt(wrong)
    assert [pair for pair in rounds if pair[0] > 0.5] and len(rounds) >= 16
    stopped = [wrong for expected, wrong in rounds if round(expected) == 0]
    assert sum(stopped) <= 3 * np.sqrt(len(stopped)) and stopped


def test_what_is_probably_wrong_by_decisions_is_listed_though_it_is_not_suspected() -> None:
    """Ten decided rows are so surely of class 1 that no other row is suspected to be, however doubtful its label."""
    first = np.repeat([0.01, 0.9, 0.45, 0.1, 0.9], [10, 10, 10, 3, 7])  # probabilities of class 0; all were labelled 0
    probabilities = np.stack([first, 1 - first], axis=1)
    former = np.zeros(len(first), dtype=np.int64)
    labels = np.where(first == 0.01, 1, 0)
    decided = np.arange(len(first)) < 30
    assert find_suspects(probabilities, labels).rows.tolist() == []
    nothing = np.zeros(len(first), dtype=bool)
    reviewed = rows_to_review(probabilities, labels, Decisions(former, decided, nothing))
    assert reviewed.rows.tolist() == [30, 31, 32] and reviewed.shares is not None and reviewed.shares.min() > 0.9
    assert reviewed.unlisted == 7 and reviewed.unlisted_wrong == 0  # their labels are the likeliest classes
    fewer = decided & (np.arange(len(first)) >= 11)
    few = rows_to_review(probabilities, labels, Decisions(former, fewer, nothing))
    assert few.rows.tolist() == [] and few.shares is None and few.unlisted == 21 and few.unlisted_wrong is None


def test_decisions_that_all_agree_do_not_list_what_is_far_less_doubtful() -> None:
    first = np.repeat([0.01, 0.4], [ENOUGH, 5])
    probabilities = np.stack([first, 1 - first], axis=1)
    labels = np.where(first == 0.01, 1, 0)
    person = Decisions(np.zeros_like(labels), first == 0.01, np.zeros(len(first), dtype=bool))
    reviewed = rows_to_review(probabilities, labels, person)
    assert reviewed.rows.tolist() == [] and reviewed.unlisted == 5
    assert reviewed.unlisted_wrong is not None and 0 < reviewed.unlisted_wrong < 5 * LIKELY


def test_what_was_listed_once_stays_until_it_is_decided_about() -> None:
    """Row 1 was suspected, row 2 as well and is decided about; both labels are by now the likeliest classes."""
    probabilities = np.array([[0.9, 0.05, 0.05], [0.8, 0.05, 0.15], [0.8, 0.15, 0.05]])
    still_open = np.array([False, True, True])
    decided = np.array([False, False, True])
    reviewed = rows_to_review(probabilities, np.zeros(3, int), Decisions(np.zeros(3, int), decided, still_open))
    assert (reviewed.rows.tolist(), reviewed.classes.tolist(), reviewed.unlisted) == ([1], [2], 1)
