"""Images of no class lie farther from all classes than known ones do."""

import numpy as np
import pytest

from pipeline.inference.known import fit_known_classes


def clouds(seed: int, classes: tuple[int, ...] = (0, 1, 2), per_class: int = 60) -> tuple[np.ndarray, np.ndarray]:
    centres = 4 * np.random.default_rng(0).standard_normal((6, 16))
    labels = np.repeat(classes, per_class)
    noise = np.random.default_rng(seed).standard_normal((len(labels), 16))
    return (centres[labels] + noise).astype(np.float32), labels


@pytest.mark.parametrize("with_val", [True, False])
def test_strangers_have_higher_scores(with_val: bool) -> None:
    train, labels = clouds(1)
    known = fit_known_classes(train, labels, clouds(2)[0] if with_val else None)
    own = known.scores(clouds(3)[0])
    strange = known.scores(clouds(4, (3, 4, 5))[0])
    assert 0.3 < own.mean() < 0.7  # the share of known images that lie nearer is uniform on known images
    assert strange.min() > 0.9
    assert own.min() >= 0 and strange.max() <= 1


def test_a_score_does_not_depend_on_its_neighbours() -> None:
    train, labels = clouds(1)
    known = fit_known_classes(train, labels)
    rows = clouds(3)[0]
    assert known.scores(rows)[5] == known.scores(rows[5:6])[0]
