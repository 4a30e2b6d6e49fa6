"""The pace and the steps of `Descent` are those of torch's own classes, without what they import."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline.heads.optim import FusedOptimizer, lr_factors

ROOT = Path(__file__).parents[3]


def torch_s_own(optimizer: str, schedule: str, steps: int, tensors: list[torch.Tensor]) -> tuple[Any, Any]:
    if optimizer == "sgd":
        peer: Any = torch.optim.SGD(tensors, 0.1, 0.9, weight_decay=0.01, nesterov=True, fused=True)
    else:
        peer = torch.optim.AdamW(tensors, 0.1, weight_decay=0.01, fused=True)
    schedules: dict[str, Any] = {
        "onecycle": lambda: torch.optim.lr_scheduler.OneCycleLR(peer, 0.1, total_steps=steps + 1),
        "cosine": lambda: torch.optim.lr_scheduler.CosineAnnealingLR(peer, steps),
        "constant": lambda: torch.optim.lr_scheduler.ConstantLR(peer, factor=1.0),
    }
    return peer, schedules[schedule]()


@pytest.mark.parametrize("steps", [1, 2, 3, 10, 101])
@pytest.mark.parametrize("schedule", ["onecycle", "cosine", "constant"])
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_steps_are_those_of_torch_s_own_classes(optimizer: str, schedule: str, steps: int) -> None:
    generator = torch.Generator().manual_seed(0)
    shapes = [(7, 5), (7,), (3, 7), (3,)]
    start = [torch.randn(shape, generator=generator) for shape in shapes]
    theirs = [tensor.clone().requires_grad_() for tensor in start]
    ours = [tensor.clone() for tensor in start]
    expected, scheduler = torch_s_own(optimizer, schedule, steps, theirs)
    optimizer = FusedOptimizer(ours, optimizer, 0.01)
    for factor, momentum in lr_factors(schedule, steps):
        group = expected.param_groups[0]
        assert 0.1 * factor == pytest.approx(group["lr"], rel=1e-6, abs=1e-9)
        assert momentum == pytest.approx(group.get("momentum") or group["betas"][0])
        gradients = [torch.randn(shape, generator=generator) for shape in shapes]
        for tensor, gradient in zip(theirs, gradients, strict=True):
            tensor.grad = gradient.clone()
        expected.step()
        scheduler.step()
        optimizer.step(gradients, 0.1 * factor, momentum)
    for own, other in zip(ours, theirs, strict=True):
        assert torch.allclose(own, other.detach(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_gradient_of_other_strides_is_taken_for_what_it_is(optimizer: str) -> None:
    gradient = torch.randn(4, 6, generator=torch.Generator().manual_seed(1))
    plain = torch.ones(4, 6)
    turned = torch.ones(4, 6)
    FusedOptimizer([plain], optimizer, 0.0).step([gradient], 0.1, 0.9)
    FusedOptimizer([turned], optimizer, 0.0).step([gradient.T.contiguous().T], 0.1, 0.9)
    assert torch.equal(plain, turned)


def test_a_head_does_not_wait_for_torch_s_compiler_to_be_imported() -> None:
    code = """
import sys, numpy as np, pathlib
from cache.records import FeatureSet
from pipeline.config.params import read_params
from pipeline.heads.fit import fit_head
features = np.random.default_rng(0).normal(size=(8, 4)).astype(np.float16)
ids = np.array([b"%064x" % number for number in range(8)])
chosen = ["train_head.schedule=[unaugmented x 1]", "train_head.device=cpu"]
config = read_params(pathlib.Path("params.yaml"), chosen).train_head
rows = FeatureSet(features, np.arange(8) % 2, ids, ("a", "b"), "unaugmented", backbone="none", recipe={})
fit_head({"unaugmented": rows}, {}, config)
print("torch._dynamo" in sys.modules, "sympy" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


def test_judging_a_head_does_not_wait_for_torchvision_to_be_imported() -> None:
    code = (
        "import sys, pipeline.inference.bundle, pipeline.evaluation.evaluate, pipeline.evaluation.robustness\n"
        "print('torchvision' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False"]
