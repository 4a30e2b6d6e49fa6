"""Multinomial logistic regression with an L2 penalty, solved to its optimum along a path of strengths.

L-BFGS (Nocedal, 1980) in the basis in which the covariance of features is diagonal. There the Hessian is close to
`a[k] * variance[j] + strength`, which preconditions every step. Logits are linear in the parameters, so those of
a step's direction give the whole line: a step costs two matrix products, however long its line search is.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import log

import torch
from torch import Tensor

from pipeline.heads.basis import principal_basis

TOLERANCE = 1e-4  # of the objective: how far from the optimum a solution may be (measured: a half of that)
MEMORY = 10  # pairs that L-BFGS remembers
MOST_STEPS = 300
ARMIJO = 1e-4


@dataclass(frozen=True)
class LinearWeights:
    """Logits of features [n, d] are `features @ weight + bias`. weight: float32 [d, c]. bias: float32 [c]."""

    weight: Tensor
    bias: Tensor


@dataclass(frozen=True)
class _State:
    """Parameters [r + 1, c], the logits [n, c] that they give, probabilities, and the objective."""

    parameters: Tensor
    logits: Tensor
    probabilities: Tensor
    objective: float


def logistic_path(
    features: Tensor, labels: Tensor, classes: int, strengths: Sequence[float], weights: Tensor | None = None
) -> Iterator[LinearWeights]:
    """Solve for each strength in turn, each from the solutions before it; strongest first is fastest.

    features: float32 [n, d], standardised. labels: int64 [n]. weights: of rows, float [n]; None: all alike. The
    objective is the weighted mean of the cross entropy + strength / 2 * sum(weight ** 2); the bias is free. In
    scikit-learn's terms C = 1 / (strength * n). Deterministic for the same number of threads.
    """
    basis = principal_basis(features)
    for solution in logistic_path_in_basis(features @ basis, labels, classes, strengths, weights):
        yield LinearWeights(basis @ solution.weight, solution.bias)


def logistic_path_in_basis(
    rows: Tensor,
    labels: Tensor,
    classes: int,
    strengths: Sequence[float],
    weights: Tensor | None = None,
    tolerance: float = TOLERANCE,
) -> Iterator[LinearWeights]:
    """`logistic_path` of features [n, r] that are already in a basis in which they are (nearly) uncorrelated.

    tolerance: how far from the optimum a solution may be, relative to the objective.
    """
    share = torch.ones(len(labels), device=rows.device) if weights is None else weights.to(rows.device).float()
    problem = _Problem(rows, labels, classes, share / share.sum(), tolerance)
    latest: tuple[float, _State] | None = None
    earlier: tuple[float, _State] | None = None
    for strength in strengths:
        start = min(problem.starts(earlier, latest, strength), key=lambda state: state.objective)
        earlier = latest
        latest = (strength, problem.solve(start, strength))
        parameters = latest[1].parameters
        yield LinearWeights(parameters[:-1].clone(), parameters[-1].clone())


class _Problem:
    """Rows in a basis, with a last column of ones for the bias."""

    def __init__(self, rows: Tensor, labels: Tensor, classes: int, share: Tensor, tolerance: float) -> None:
        self.tolerance = tolerance
        self.rows = torch.cat([rows, torch.ones_like(rows[:, :1])], dim=1)  # [n, r + 1]
        self.labels = labels
        self.share = share
        self.classes = classes
        self.variance = (share @ self.rows.square() - (share @ self.rows).square()).clamp_min_(0)  # [r + 1]
        self.variance[-1] = 1.0
        self.penalised = torch.ones(self.rows.shape[1], 1, device=rows.device)
        self.penalised[-1] = 0.0

    def state(self, parameters: Tensor, logits: Tensor, strength: float) -> _State:
        """With the objective at this strength."""
        log_odds = torch.log_softmax(logits, dim=1)
        losses = -log_odds.gather(1, self.labels[:, None])[:, 0]
        penalty = strength / 2 * _exact_dot(parameters[:-1], parameters[:-1])
        return _State(parameters, logits, log_odds.exp_(), _exact_dot(losses, self.share) + penalty)

    def starts(
        self, earlier: tuple[float, _State] | None, latest: tuple[float, _State] | None, strength: float
    ) -> Iterator[_State]:
        """Zeros; or the last solution, and where the last two lead, straight on in the logarithm of the strength."""
        if latest is None:
            zeros = torch.zeros(self.rows.shape[1], self.classes, device=self.rows.device)
            yield self.state(zeros, self.rows @ zeros, strength)
            return
        last, state = latest
        yield self.state(state.parameters, state.logits, strength)
        if earlier is not None and earlier[0] != last:
            before = earlier[1]
            factor = log(strength / last) / log(last / earlier[0])
            parameters = state.parameters + factor * (state.parameters - before.parameters)
            yield self.state(parameters, state.logits + factor * (state.logits - before.logits), strength)

    def solve(self, state: _State, strength: float) -> _State:
        """Descend from here to the optimum."""
        pairs: deque[tuple[Tensor, Tensor, float]] = deque(maxlen=MEMORY)
        gradient = self._gradient(state, strength)
        for _ in range(MOST_STEPS):
            direction = -self._newton_like(gradient, state, strength, pairs)
            line = _narrow_product(self.rows, direction)
            slope = _dot(gradient, direction)
            step = self._first_step(state, direction, line, slope, strength)
            if step * -slope / 2 < self.tolerance / 20 * state.objective:
                break
            following = self._search(state, direction, line, step, slope, strength)
            if following is None:
                break
            moved = following.parameters - state.parameters
            state = following
            next_gradient = self._gradient(state, strength)
            turned = next_gradient - gradient
            curvature = _dot(moved, turned)
            if curvature > 0:
                pairs.append((moved, turned, 1 / curvature))
            gradient = next_gradient
        return state

    def _gradient(self, state: _State, strength: float) -> Tensor:
        errors = state.probabilities * self.share[:, None]
        errors[torch.arange(len(errors), device=errors.device), self.labels] -= self.share
        return _narrow_product(self.rows.T, errors) + strength * self.penalised * state.parameters

    def _newton_like(
        self, gradient: Tensor, state: _State, strength: float, pairs: "deque[tuple[Tensor, Tensor, float]]"
    ) -> Tensor:
        """L-BFGS's two loops around the preconditioner."""
        direction = gradient.clone()
        factors = []
        for moved, turned, inverse in reversed(pairs):
            factor = inverse * _dot(moved, direction)
            direction.add_(turned, alpha=-factor)
            factors.append(factor)
        spread = self.share @ (state.probabilities * (1 - state.probabilities))  # [c]
        direction /= self.variance[:, None] * spread.clamp_min(1e-6) + strength * self.penalised
        for (moved, turned, inverse), factor in zip(pairs, reversed(factors), strict=True):
            direction.add_(moved, alpha=factor - inverse * _dot(turned, direction))
        return direction

    def _first_step(self, state: _State, direction: Tensor, line: Tensor, slope: float, strength: float) -> float:
        """Newton's, along the line."""
        weighted = state.probabilities * line
        curvature = _dot((weighted * line).sum(dim=1) - weighted.sum(dim=1).square(), self.share)
        curvature += strength * _dot(direction[:-1], direction[:-1])
        return -slope / curvature if curvature > 0 else 1.0

    def _search(
        self, state: _State, direction: Tensor, line: Tensor, step: float, slope: float, strength: float
    ) -> _State | None:
        """Shorten the step until the objective falls; None if rounding hides any fall."""
        for _ in range(20):
            following = self.state(state.parameters + step * direction, state.logits + step * line, strength)
            if following.objective <= state.objective + ARMIJO * step * slope:
                return following
            step /= 3
        return None


def _narrow_product(wide: Tensor, narrow: Tensor) -> Tensor:
    """wide @ narrow. With few columns, BLAS is two to seven times as fast on the transposed product (measured)."""
    return (narrow.T @ wide.T).T.contiguous()


def _dot(left: Tensor, right: Tensor) -> float:
    """Fast; rounding moves a step, not the optimum."""
    return float(torch.dot(left.reshape(-1), right.reshape(-1)))


def _exact_dot(left: Tensor, right: Tensor) -> float:
    """Accumulated in float64: objectives are compared down to their last digits."""
    return float((left * right).sum(dtype=torch.float64))
