"""Optimizers and learning rates of full models, from torch and timm."""

import itertools
from typing import Any

import torch
from torch import nn
from torch.optim import lr_scheduler

from pipeline.config.recipe import Recipe
from pipeline.networks.head import FineTuned

WARMUP_FROM = 0.01  # of the learning rate
SMALLEST = 0.001  # root mean square of weights that still move, as in Adafactor (Shazeer and Stern, ICML 2018)


def make_optimizer(network: nn.Module, recipe: Recipe, auxiliary: nn.Module | None) -> torch.optim.Optimizer:
    """SGD, Adam (with L2 regularisation) or AdamW (with decoupled weight decay).

    auxiliary: a second network over the same convolutions, whose own norms are trained too.
    """
    groups = parameter_groups(network, recipe)
    shared = set(network.parameters())
    own = [] if auxiliary is None else [norm for norm in auxiliary.parameters() if norm not in shared]
    groups += _by_decay(own, recipe, recipe.lr)
    on_gpu = next(network.parameters()).device.type == "cuda"
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(
            groups,
            recipe.lr,
            recipe.momentum,
            weight_decay=recipe.weight_decay,
            nesterov=recipe.nesterov,
            fused=on_gpu or None,  # also spares float16's scaler to wait for the GPU in every step
        )
    kind = torch.optim.Adam if recipe.optimizer == "adam" else torch.optim.AdamW
    return kind(groups, recipe.lr, eps=recipe.adam_eps, weight_decay=recipe.weight_decay, fused=True)


def parameter_groups(network: nn.Module, recipe: Recipe) -> list[dict[str, Any]]:
    """The parameters that are trained, in groups of one learning rate and one weight decay.

    Of a fine-tuned network the head has a rate of its own, and so has each block, by timm's layer-wise decay (Clark et
    al., ICLR 2020), and each matrix of small weights; the rate of any other network is the same throughout.
    """
    if not isinstance(network, FineTuned):
        return _by_decay(list(network.parameters()), recipe, recipe.lr)
    head = _by_decay(list(network.head.parameters()), recipe, recipe.lr * recipe.head_lr)
    if recipe.layer_decay == 1:
        return [*_capped(list(network.backbone.parameters()), recipe, recipe.lr), *head]
    from timm.optim._param_groups import param_groups_layer_decay

    layers = param_groups_layer_decay(network.backbone, recipe.weight_decay, layer_decay=recipe.layer_decay)
    backbone = (_capped(layer["params"], recipe, recipe.lr * layer["lr_scale"]) for layer in layers)
    return [*head, *itertools.chain.from_iterable(backbone)]


def _capped(parameters: list[nn.Parameter], recipe: Recipe, lr: float) -> list[dict[str, Any]]:
    """Groups whose rate is the recipe's share of a matrix's root mean square, where that is below `lr`."""
    if recipe.lr_cap is None:
        return _by_decay(parameters, recipe, lr)
    rates: dict[float, list[nn.Parameter]] = {lr: []}
    for parameter in parameters:
        size = max(SMALLEST, float(parameter.detach().pow(2).mean().sqrt()))
        rate = lr if parameter.ndim < 2 else min(lr, recipe.lr_cap * size)
        rates.setdefault(rate, []).append(parameter)
    return [group for rate, alike in rates.items() for group in _by_decay(alike, recipe, rate)]


def _by_decay(parameters: list[nn.Parameter], recipe: Recipe, lr: float) -> list[dict[str, Any]]:
    """One group, or, if only matrices are decayed, two."""
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    decayed = [parameter for parameter in trained if recipe.decayed == "all" or parameter.ndim > 1]
    others = [parameter for parameter in trained if recipe.decayed != "all" and parameter.ndim <= 1]
    groups: list[dict[str, Any]] = [{"params": decayed, "lr": lr}, {"params": others, "lr": lr, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]


def make_scheduler(optimizer: torch.optim.Optimizer, recipe: Recipe, steps: int, steps_per_epoch: float) -> Any:
    """The learning rate of each of `steps` steps, after a linear warm-up if the recipe has one."""
    warmup = min(round(recipe.warmup_epochs * steps_per_epoch), steps - 1)
    if recipe.lr_schedule == "onecycle":
        rise = max(recipe.rise, 2 / (steps + 1))  # of a step at least: torch divides by its length
        peaks = [group["lr"] for group in optimizer.param_groups]
        return lr_scheduler.OneCycleLR(optimizer, peaks, total_steps=steps + 1, pct_start=rise)
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
