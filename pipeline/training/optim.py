"""Optimizers and learning rates of full models, from torch."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn
from torch.optim import lr_scheduler

from pipeline.config.recipe import Recipe

WARMUP_FROM = 0.01  # of the learning rate


def make_optimizer(parameters: Iterable[nn.Parameter], recipe: Recipe) -> torch.optim.Optimizer:
    """SGD, Adam (with L2 regularisation) or AdamW (with decoupled weight decay)."""
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(
            parameters, recipe.lr, recipe.momentum, weight_decay=recipe.weight_decay, nesterov=recipe.nesterov
        )
    kind = torch.optim.Adam if recipe.optimizer == "adam" else torch.optim.AdamW
    return kind(parameters, recipe.lr, eps=recipe.adam_eps, weight_decay=recipe.weight_decay, fused=True)


def make_scheduler(optimizer: torch.optim.Optimizer, recipe: Recipe, steps: int, steps_per_epoch: float) -> Any:
    """The learning rate of each of `steps` steps, after a linear warm-up where the recipe has one."""
    warmup = min(round(recipe.warmup_epochs * steps_per_epoch), steps - 1)
    if recipe.lr_schedule == "onecycle":
        rise = max(recipe.rise, 2 / (steps + 1))  # of a step at least: torch divides by its length
        return lr_scheduler.OneCycleLR(optimizer, recipe.lr, total_steps=steps + 1, pct_start=rise)
    main: Any
    if recipe.lr_schedule == "cosine":
        main = lr_scheduler.CosineAnnealingLR(optimizer, steps - warmup, recipe.min_lr)
    elif recipe.lr_schedule == "steps":
        milestones = [round(share * steps) - warmup for share in recipe.milestones]
        main = lr_scheduler.MultiStepLR(optimizer, milestones, recipe.gamma)
    else:
        main = lr_scheduler.ConstantLR(optimizer, factor=1.0)
    if not warmup:
        return main
    rising = lr_scheduler.LinearLR(optimizer, WARMUP_FROM, total_iters=warmup)
    return lr_scheduler.SequentialLR(optimizer, [rising, main], [warmup])
