"""What a step of training moves, and so what a checkpoint holds."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from cache.errors import ParamsError
from pipeline.config.recipe import Recipe
from pipeline.networks.adversarial import sharing_weights
from pipeline.training.optim import make_optimizer, make_scheduler

COUNTED = ("epoch", "step", "lr", "curves", "best", "best_epoch")
Tensors = tuple[Tensor, ...] | list[Tensor]
SAVED = ("network", "auxiliary", "optimizer", "scheduler", "swa_scheduler", "average", "scaler")


@dataclass(frozen=True)
class Plan:
    """All that decides a training besides the images.

    mean, deviation: of the network's input in 0..255, [3]. sizes: sides of its input in pixels, for equal shares of the
    epochs.
    """

    recipe: Recipe
    seed: int
    classes: int
    mean: Tensor
    deviation: Tensor
    sizes: tuple[int, ...]
    epochs: int
    engine: str

    def size(self, epoch: int) -> int:
        """Side in pixels of an epoch's images; epochs count from 0."""
        return self.sizes[min(epoch, self.epochs - 1) * len(self.sizes) // self.epochs]


class TrainingState:
    """All that a step moves. steps: how many each epoch has."""

    def __init__(self, network: nn.Module, plan: Plan, steps: list[int]) -> None:
        recipe = plan.recipe
        device = plan.mean.device
        self.network = network
        self.auxiliary = _auxiliary_of(network, recipe)
        self.optimizer = make_optimizer(network, recipe, self.auxiliary)
        self.scheduler = make_scheduler(self.optimizer, recipe, sum(steps), sum(steps) / len(steps))
        self.swa_from = len(steps) if recipe.swa is None else min(len(steps) - 1, round(recipe.swa.start * len(steps)))
        self.swa_scheduler: Any = None
        self.average: AveragedModel | None = None
        if recipe.swa is not None:
            self.average = AveragedModel(network)
        elif recipe.ema:
            self.average = AveragedModel(network, multi_avg_fn=moving_average(recipe.ema), use_buffers=True)
        self.scaler = torch.amp.GradScaler(device.type, enabled=recipe.precision == "float16")
        self.epoch = 0
        self.step = 0
        self.lr = 0.0  # at the beginning of this epoch
        self.sums = torch.zeros(4, device=device)  # of this epoch: loss, right answers, examples, loss under attack
        self.curves: list[dict[str, Any]] = []
        self.best: dict[str, Tensor] = {}
        self.best_epoch = 0

    def state(self) -> dict[str, Any]:
        """Tensors and plain values from which `restore` resumes bit for bit."""
        parts = {name: getattr(self, name) for name in SAVED}
        tensors = {name: part.state_dict() for name, part in parts.items() if part is not None}
        return tensors | {name: getattr(self, name) for name in (*COUNTED, "sums")}

    def restore(self, state: dict[str, Any], swa: Callable[[], Any]) -> None:
        """Go back to a `state`. swa: makes SWA's scheduler, if the state is beyond its start."""
        self.swa_scheduler = swa() if "swa_scheduler" in state else None
        for name in SAVED:
            if name in state:
                getattr(self, name).load_state_dict(state[name])
        self.sums = state["sums"].to(self.sums.device)
        for name in COUNTED:
            setattr(self, name, state[name])


def moving_average(decay: float) -> Callable[[Tensors, Tensors, Tensor | int], None]:
    """How averaged weights follow the network's: slower with every step, until `decay` is reached.

    After n steps the decay is (1 + n) / (10 + n) at most, as in TensorFlow's ExponentialMovingAverage: without it the
    average of a short training would be mostly its start.
    """

    def follow(averaged: Tensors, current: Tensors, steps: Tensor | int) -> None:
        reached = (1 + int(steps)) / (10 + int(steps))
        get_ema_multi_avg_fn(min(decay, reached))(averaged, current, steps)

    return follow


def _auxiliary_of(network: nn.Module, recipe: Recipe) -> nn.Module | None:
    """AdvProp's second network, with norms of its own; None if the recipe has none."""
    if recipe.adversary is None or recipe.adversary.norms != "separate":
        return None
    if not any(isinstance(module, nn.BatchNorm2d) for module in network.modules()):
        raise ParamsError("norms: separate needs a network with batch norms", where="recipe adversary")
    return sharing_weights(network)
