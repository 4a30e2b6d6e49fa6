"""A feature that is constant, or almost, is not magnified: what rounding or a test image changes in it stays small."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.networks.head import Head, predict_logits, steady_scale

ROUNDING = 2.0**-11  # of float16, relative to the value


def scale_of(rows: np.ndarray) -> torch.Tensor:
    features = torch.from_numpy(rows).float()
    return steady_scale(features.mean(dim=0), features.std(dim=0), len(features))


def rectified(count: int, width: int, seed: int, alive: float, size: float) -> np.ndarray:
    """Outputs of a ReLU: some features are dead, some fire once and weakly, some are constant; the rest vary."""
    random = np.random.default_rng(seed)
    rows = np.maximum(random.normal(0.2, 1.0, (count, width)), 0)
    kinds = random.choice(4, width, p=[alive, *[(1 - alive) / 3] * 3])
    rows[:, kinds == 1] = 0.0
    rows[:, kinds == 2] = 0.0
    rows[0, kinds == 2] = 1e-3
    rows[:, kinds == 3] = random.normal(3, 1) + random.normal(0, 1e-4, (count, int((kinds == 3).sum())))
    rows[:, 0] = np.linspace(0, 1, count)  # one feature that varies, at least
    return (rows * size).astype(np.float16)


@settings(max_examples=60, deadline=None)
@given(
    count=st.integers(5, 200),
    width=st.integers(4, 64),
    seed=st.integers(0, 10**6),
    alive=st.floats(0.1, 1.0),
    size=st.sampled_from([0.01, 1.0, 100.0]),
)
def test_rounding_to_float16_moves_logits_by_little(
    count: int, width: int, seed: int, alive: float, size: float
) -> None:
    rows = rectified(count, width, seed, alive, size)
    head = Head([width, 3], 0.0, 0.0)
    head.mean.copy_(torch.from_numpy(rows).float().mean(dim=0))
    head.deviation.copy_(scale_of(rows))
    features = torch.from_numpy(rows).float()
    signs = torch.from_numpy(np.random.default_rng(seed).choice([-1.0, 1.0], rows.shape)).float()
    rounded = features * (1 + ROUNDING * signs)
    moved = (predict_logits(head, rounded) - predict_logits(head, features)).abs()
    linear = head.layers[1].weight.abs().sum(dim=1)  # what moving every input by 1 could do
    magnitude = features.abs() / features.square().mean(dim=0).sqrt().clamp_min(1e-9)
    most = ROUNDING * 2**6 * magnitude.amax(dim=1, keepdim=True)  # of a standardised feature, by the scale's floor
    assert bool((moved <= most * linear + 1e-4).all())


@pytest.mark.parametrize("count", [5, 50, 5000])
def test_a_dead_feature_that_fires_counts_as_a_rare_one_does(count: int) -> None:
    """A typical move of a feature that was dead on n rows is as large as that of one that fired once in n."""
    rows = np.random.default_rng(0).normal(0, 2.0, (count, 9)).astype(np.float32)
    rows[:, 4] = 0.0
    scale = scale_of(rows)
    alive = np.delete(rows.std(axis=0, ddof=1), 4)
    assert float(scale[4]) == pytest.approx(np.median(np.sort(alive)[:-1]) / (count + 1) ** 0.5, rel=0.35)
    assert float(np.median(alive) / scale[4]) <= 1.4 * (count + 1) ** 0.5


def test_features_that_vary_are_divided_by_their_deviation() -> None:
    rows = np.random.default_rng(0).normal(1, [1, 2, 3, 4], (10_000, 4)).astype(np.float32)
    np.testing.assert_allclose(scale_of(rows).numpy(), rows.std(axis=0, ddof=1), rtol=1e-3)


def test_without_any_variation_nothing_is_magnified() -> None:
    assert float(scale_of(np.full((10, 3), 0.5, dtype=np.float32)).min()) >= 1 / 11**0.5
