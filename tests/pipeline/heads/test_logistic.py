"""The solver reaches scikit-learn's optimum, for few and many rows, along a path, with weights of rows."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from pipeline.heads.logistic import LinearWeights, logistic_path

STRENGTHS = (1.0, 0.1, 0.01, 0.001)


def clouds(count: int, width: int, classes: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Gaussian clouds that overlap, with features of correlated noise."""
    random = np.random.default_rng(seed)
    labels = np.arange(count) % classes
    centres = np.random.default_rng(42).normal(0, 0.7, (classes, width))
    mixing = np.eye(width) + np.random.default_rng(43).normal(0, 1 / width**0.5, (width, width))
    rows = centres[labels] + random.normal(0, 1, (count, width)) @ mixing
    rows = (rows - rows.mean(axis=0)) / rows.std(axis=0)
    return torch.from_numpy(rows).float(), torch.from_numpy(labels)


def objective(weight: np.ndarray, bias: np.ndarray, rows: torch.Tensor, labels: torch.Tensor, strength: float) -> float:
    logits = torch.from_numpy(rows.double().numpy() @ weight + bias)
    return float(torch.nn.functional.cross_entropy(logits, labels)) + strength / 2 * float((weight**2).sum())


def of(solution: LinearWeights) -> tuple[np.ndarray, np.ndarray]:
    return solution.weight.double().numpy(), solution.bias.double().numpy()


@pytest.mark.parametrize(("count", "width", "classes"), [(60, 100, 3), (400, 30, 7), (100, 100, 2)])
def test_it_reaches_the_optimum_that_scikit_learn_finds(count: int, width: int, classes: int) -> None:
    rows, labels = clouds(count, width, classes)
    unseen, _ = clouds(500, width, classes, seed=1)
    for strength, solution in zip(STRENGTHS, logistic_path(rows, labels, classes, STRENGTHS), strict=True):
        peer = LogisticRegression(C=1 / (strength * count), max_iter=10_000, tol=1e-8)
        peer.fit(rows.double().numpy(), labels.numpy())
        weight = peer.coef_.T
        bias = peer.intercept_
        if classes == 2:  # scikit-learn has one logit for two classes, whose penalty is twice that of two halves
            peer = LogisticRegression(C=2 / (strength * count), max_iter=10_000, tol=1e-8)
            peer.fit(rows.double().numpy(), labels.numpy())
            weight = np.stack([-peer.coef_[0] / 2, peer.coef_[0] / 2], axis=1)
            bias = np.array([-peer.intercept_[0] / 2, peer.intercept_[0] / 2])
        best = objective(weight, bias, rows, labels, strength)
        ours = objective(*of(solution), rows, labels, strength)
        assert ours <= best * (1 + 1e-4)
        predicted = (unseen @ solution.weight + solution.bias).argmax(dim=1)
        expected = (unseen.double().numpy() @ weight + bias).argmax(axis=1)
        assert (predicted.numpy() == expected).mean() >= 0.99  # ties between classes, within 1e-4 of the objective


def test_a_path_and_a_single_strength_meet() -> None:
    rows, labels = clouds(300, 20, 4)
    *_, last = logistic_path(rows, labels, 4, STRENGTHS)
    (alone,) = logistic_path(rows, labels, 4, STRENGTHS[-1:])
    values = [objective(*of(solution), rows, labels, STRENGTHS[-1]) for solution in (last, alone)]
    assert values[0] == pytest.approx(values[1], rel=1e-4)


def test_a_weight_counts_a_row_as_often_as_it_says() -> None:
    rows, labels = clouds(90, 12, 3)
    weights = torch.tensor([1.0, 2.0, 3.0]).repeat(30)
    repeated = torch.arange(90).repeat_interleave(weights.long())
    (weighted,) = logistic_path(rows, labels, 3, [0.05], weights)
    (copied,) = logistic_path(rows[repeated], labels[repeated], 3, [0.05])
    values = [objective(*of(solution), rows[repeated], labels[repeated], 0.05) for solution in (weighted, copied)]
    assert values[0] == pytest.approx(values[1], rel=1e-4)
    # An objective within 1e-4 of the least one, whose curvature is the penalty, is so far from the optimum at most.
    distance = (2 * 1e-4 * values[0] / 0.05) ** 0.5
    assert float((weighted.weight - copied.weight).norm()) <= 2 * distance


def test_constant_features_and_classes_without_rows_are_no_trouble() -> None:
    rows, labels = clouds(60, 10, 3)
    rows[:, :4] = 0.0
    for solution in logistic_path(rows, labels, 5, STRENGTHS):
        assert bool(solution.weight.isfinite().all())
        assert bool(solution.bias.isfinite().all())
        assert float(solution.weight[:4].abs().max()) == 0.0


def test_the_same_rows_give_the_same_bits() -> None:
    rows, labels = clouds(120, 40, 3)
    once, again = (list(logistic_path(rows, labels, 3, STRENGTHS)) for _ in range(2))
    assert all(torch.equal(own.weight, other.weight) for own, other in zip(once, again, strict=True))
