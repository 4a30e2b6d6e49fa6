"""Attacks raise the loss, and stay in their box."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.networks.adversarial import Attack, perturb

IMAGES = torch.rand((6, 3, 8, 8), generator=torch.Generator().manual_seed(0)) * 255
LABELS = torch.arange(6) % 3


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(1)


@pytest.fixture
def predict() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(2)
        return nn.Sequential(nn.Flatten(), nn.Linear(192, 16), nn.Tanh(), nn.Linear(16, 3)).eval()


def loss_of(predict: nn.Module, images: Tensor) -> float:
    return float(functional.cross_entropy(predict(images / 255), LABELS).detach())


def test_it_stays_within_its_box_and_within_the_range_of_pixels(predict: nn.Module) -> None:
    edges = torch.where(IMAGES > 127, 255.0, 0.0)
    for images in (IMAGES, edges):
        moved = perturb(lambda pixels: predict(pixels / 255), images, LABELS, Attack(4, 3, 5), seeded())
        assert float((moved - images).abs().max()) <= 4 + 1e-4
        assert float(moved.min()) >= 0 and float(moved.max()) <= 255


def test_the_loss_grows_with_eps_and_with_steps(predict: nn.Module) -> None:
    def attacked(eps: float, steps: int) -> float:
        attack = Attack(eps, eps / 2, steps)
        return loss_of(predict, perturb(lambda pixels: predict(pixels / 255), IMAGES, LABELS, attack, seeded()))

    by_eps = [attacked(eps, 10) for eps in (0, 2, 8, 32)]
    assert by_eps == sorted(by_eps) and by_eps[0] == pytest.approx(loss_of(predict, IMAGES)) and by_eps[3] > by_eps[0]
    assert attacked(8, 10) > attacked(8, 1) > attacked(8, 0)


def test_a_linear_network_is_attacked_as_well_as_can_be() -> None:
    """For two classes and a linear network the best move is known: eps times the sign of the weights' difference."""
    weights = torch.from_numpy(np.random.default_rng(0).normal(0, 0.01, (2, 192))).float()
    labels = torch.zeros(6, dtype=torch.int64)
    inner = IMAGES.clamp(20, 235)
    moved = perturb(lambda pixels: pixels.flatten(1) @ weights.T, inner, labels, Attack(4, 2, 8), seeded())
    best = inner + 4 * (weights[1] - weights[0]).sign().view(1, 3, 8, 8)
    torch.testing.assert_close(moved, best)


def test_the_generator_decides_the_start_and_parameters_get_no_gradients(predict: nn.Module) -> None:
    start = [perturb(predict, IMAGES, LABELS, Attack(4, 1, 1), seeded()) for _ in range(2)]
    assert torch.equal(*start)
    other = perturb(predict, IMAGES, LABELS, Attack(4, 1, 1), torch.Generator().manual_seed(9))
    assert not torch.equal(start[0], other)
    assert all(tensor.grad is None for tensor in predict.parameters())
