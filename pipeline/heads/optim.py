"""AdamW and SGD with Nesterov's momentum for heads, by torch's fused kernels, and their pace over a run.

torch.optim's classes import torch's compiler when they first step, two seconds that a quick head does not have. Its
functions, of which those classes are made, do not. Full models, which run for longer, use the classes
(training/optim.py).
"""

from collections.abc import Iterable, Iterator, Sequence
from math import cos, pi

import torch
from torch import Tensor
from torch.optim.adamw import adamw
from torch.optim.sgd import sgd

MOMENTUM = 0.9
BETA2 = 0.999
EPS = 1e-8
RISE = 0.3  # OneCycleLR's own
DIVISOR = 25.0
LAST_DIVISOR = 1e4
LOW = 0.85
HIGH = 0.95


class FusedOptimizer:
    """Moves tensors against their gradients. moments: a list of one a tensor for SGD, two such lists for AdamW."""

    def __init__(self, tensors: Iterable[Tensor], optimizer: str, weight_decay: float) -> None:
        self.tensors = [tensor.detach() for tensor in tensors]
        self.decay = weight_decay
        kinds = 1 if optimizer == "sgd" else 2
        self.moments = [[torch.zeros_like(tensor) for tensor in self.tensors] for _ in range(kinds)]
        self.steps = [torch.zeros((), device=tensor.device) for tensor in self.tensors]  # counted by AdamW alone

    def step(self, gradients: Sequence[Tensor], lr: float, momentum: float) -> None:
        """Move once; momentum is AdamW's first beta."""
        alike = [gradient.contiguous() for gradient in gradients]  # the kernels take memory for what the tensors are
        if len(self.moments) == 1:
            sgd(
                self.tensors,
                alike,
                [*self.moments[0]],
                fused=True,
                lr=lr,
                momentum=momentum,
                dampening=0,
                nesterov=True,
                weight_decay=self.decay,
                maximize=False,
            )
        else:
            adamw(
                self.tensors,
                alike,
                self.moments[0],
                self.moments[1],
                [],
                self.steps,
                fused=True,
                lr=lr,
                beta1=momentum,
                beta2=BETA2,
                eps=EPS,
                weight_decay=self.decay,
                amsgrad=False,
                maximize=False,
            )


def lr_factors(schedule: str, steps: int) -> Iterator[tuple[float, float]]:
    """Of each step the factor of the learning rate, and the momentum.

    schedule: `onecycle`, `cosine` or `constant`, as OneCycleLR (of steps + 1), CosineAnnealingLR and ConstantLR are.
    """
    peak = RISE * (steps + 1) - 1
    for step in range(steps):
        if schedule == "cosine":
            yield _between(1, 0, step / steps), MOMENTUM
        elif schedule == "constant":
            yield 1.0, MOMENTUM
        elif step <= peak:
            yield _between(1 / DIVISOR, 1, step / peak), _between(HIGH, LOW, step / peak)
        else:
            share = (step - peak) / (steps - peak)
            yield _between(1, 1 / DIVISOR / LAST_DIVISOR, share), _between(LOW, HIGH, share)


def _between(start: float, end: float, share: float) -> float:
    """Along half a cosine."""
    return end + (start - end) / 2 * (1 + cos(pi * share))
