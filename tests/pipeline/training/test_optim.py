"""Learning rates at every turn of each schedule, as computed by hand, and optimizers with the recipe's values."""

import math
import warnings
from typing import Any

import pytest
import torch
from torch import nn

from pipeline.config.recipe import Recipe, read_recipe
from pipeline.features.backbone import make_backbone
from pipeline.networks.adversarial import sharing_weights
from pipeline.networks.head import FineTuned, Head, fine_tuned
from pipeline.training.optim import make_optimizer, make_scheduler

EPOCH = 10  # steps


def make_recipe(**values: Any) -> Recipe:
    return read_recipe("plain", {"warmup_epochs": 0} | values)


def two() -> nn.Module:
    """A network of two numbers."""
    return nn.ParameterList([torch.zeros(2)])


def curve(recipe: Recipe, steps: int) -> list[float]:
    """The learning rate of each step, and what would come after the last."""
    optimizer = make_optimizer(two(), recipe, None)
    scheduler = make_scheduler(optimizer, recipe, steps, EPOCH)
    rates = []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "The epoch parameter")  # SequentialLR's own
            scheduler.step()
    return [*rates, optimizer.param_groups[0]["lr"]]


def test_a_constant_rate_stays() -> None:
    assert curve(make_recipe(lr_schedule="constant", lr=1e-5), 30) == [1e-5] * 31


def test_steps_are_taken_at_the_milestones() -> None:
    rates = curve(read_recipe("004-baseline", {}), 120 * EPOCH)
    assert rates == pytest.approx([0.1] * 60 * EPOCH + [0.01] * 30 * EPOCH + [0.001] * (30 * EPOCH + 1))


def test_a_warm_up_leaves_the_milestones_where_they_are() -> None:
    rates = curve(make_recipe(lr_schedule="steps", warmup_epochs=5), 200)
    assert rates[:50] == pytest.approx([0.1 * (0.01 + 0.99 * step / 50) for step in range(50)])
    assert rates[50:] == pytest.approx([0.1] * 50 + [0.01] * 50 + [0.001] * 51)


def test_a_milestone_within_the_warm_up_is_taken_when_it_ends() -> None:
    rates = curve(make_recipe(lr_schedule="steps", warmup_epochs=10, milestones=[0.25, 0.5, 0.75]), 200)
    assert rates[99] < 0.1 and rates[100:150] == pytest.approx([0.001] * 50)


def test_a_cosine_falls_from_its_peak_to_its_least() -> None:
    rates = curve(make_recipe(lr_schedule="cosine", min_lr=0.01), 100)
    expected = [0.01 + 0.09 * (1 + math.cos(math.pi * step / 100)) / 2 for step in range(101)]
    assert rates == pytest.approx(expected)


def test_a_cosine_begins_where_its_warm_up_ends() -> None:
    rates = curve(make_recipe(lr_schedule="cosine", warmup_epochs=2), 100)
    rising = [0.1 * (0.01 + 0.99 * step / 20) for step in range(20)]
    assert rates == pytest.approx([*rising, *(0.05 * (1 + math.cos(math.pi * step / 80)) for step in range(81))])


def test_one_cycle_peaks_where_its_rise_ends() -> None:
    rates = curve(read_recipe("003-cbam", {}), 99)  # of 100 rates a tenth rises
    assert rates[0] == pytest.approx(0.002 / 25) and rates[9] == max(rates) == pytest.approx(0.002)
    assert rates[:10] == sorted(rates[:10]) and rates[9:] == sorted(rates[9:], reverse=True)
    assert rates[-1] == pytest.approx(0.002 / 25 / 1e4)


@pytest.mark.parametrize("kind", ["constant", "steps", "cosine", "onecycle"])
@pytest.mark.parametrize("steps", [1, 2, 9, 10, 11])
def test_every_schedule_fits_into_any_number_of_steps(kind: str, steps: int) -> None:
    rates = curve(make_recipe(lr_schedule=kind, warmup_epochs=1, rise=0.1), steps)
    assert all(0 < lr <= 0.1 + 1e-12 for lr in rates[:steps])


def test_one_cycle_takes_no_warm_up() -> None:
    assert curve(make_recipe(lr_schedule="onecycle", warmup_epochs=3), 50) == curve(
        make_recipe(lr_schedule="onecycle"), 50
    )


def test_sgd_has_the_recipe_s_values() -> None:
    optimizer = make_optimizer(two(), make_recipe(momentum=0.8, weight_decay=0.01, lr=0.3), None)
    assert type(optimizer) is torch.optim.SGD
    group = optimizer.param_groups[0]
    assert (group["lr"], group["momentum"], group["nesterov"], group["weight_decay"]) == (0.3, 0.8, True, 0.01)
    assert not make_optimizer(two(), make_recipe(nesterov=False), None).param_groups[0]["nesterov"]


@pytest.mark.parametrize(("name", "kind"), [("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW)])
def test_adam_has_the_recipe_s_values(name: str, kind: type) -> None:
    recipe = make_recipe(optimizer=name, lr=0.002, adam_eps=1e-7, weight_decay=0.005)
    optimizer = make_optimizer(two(), recipe, None)
    assert type(optimizer) is kind
    group = optimizer.param_groups[0]
    assert (group["lr"], group["betas"], group["eps"], group["weight_decay"]) == (0.002, (0.9, 0.999), 1e-7, 0.005)


def test_weight_decay_is_decoupled_in_adamw_alone() -> None:
    """Without a gradient, AdamW shrinks weights by lr * decay; Adam's L2 term is a gradient, so a whole step of lr."""
    left = {}
    for name in ("adam", "adamw"):
        network = nn.ParameterList([torch.ones(1)])
        weight = network[0]
        weight.grad = torch.zeros(1)
        make_optimizer(network, make_recipe(optimizer=name, lr=0.1, weight_decay=0.05), None).step()
        left[name] = float(weight.detach())
    assert left == {"adam": pytest.approx(0.9), "adamw": pytest.approx(0.995)}


def rates(network: nn.Module, **changes: float | str) -> dict[str, tuple[float, float]]:
    """Learning rate and weight decay of each parameter by its name."""
    optimizer = make_optimizer(network, make_recipe(lr=0.1, weight_decay=0.01, **changes), None)
    names = {parameter: name for name, parameter in network.named_parameters()}
    return {
        names[parameter]: (group["lr"], group["weight_decay"])
        for group in optimizer.param_groups
        for parameter in group["params"]
    }


def test_a_fine_tuned_networks_head_has_a_rate_of_its_own() -> None:
    network = FineTuned(nn.Linear(2, 3), Head([3, 2], 0.0, 0.0))
    of_parameters = rates(network, head_lr=5)
    assert set(of_parameters) == {name for name, _ in network.named_parameters()}
    assert of_parameters["backbone.weight"] == (0.1, 0.01)
    assert of_parameters["head.layers.1.weight"] == (0.5, 0.01)


def test_layer_decay_slows_the_blocks_down_towards_the_input() -> None:
    network = fine_tuned(make_backbone("timm:resnet10t", "random", 32).network, Head([512, 2], 0.0, 0.0))
    of_parameters = rates(network, layer_decay=0.5)
    assert set(of_parameters) == {name for name, _ in network.named_parameters()}
    stem, last = (of_parameters[f"backbone.{name}"][0] for name in ("conv1.0.weight", "layer4.0.conv1.weight"))
    assert stem < last <= 0.1


def test_a_cap_slows_matrices_of_small_weights_down_and_nothing_else() -> None:
    network = FineTuned(nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 3), nn.Linear(3, 2)), Head([2, 2], 0.0, 0.0))
    for layer, size in zip(network.backbone, (0.5, 2.0, 0.0), strict=True):
        nn.init.constant_(layer.weight, size)
    of_parameters = {name: rate for name, (rate, _) in rates(network, lr_cap=0.1).items()}
    assert of_parameters.pop("backbone.0.weight") == pytest.approx(0.05)
    assert of_parameters.pop("backbone.2.weight") == pytest.approx(0.0001)
    assert set(of_parameters.values()) == {0.1} and len(of_parameters) == 6


def test_biases_and_norms_are_not_decayed_if_only_matrices_are() -> None:
    network = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2))
    decays = {name: decay for name, (_, decay) in rates(network, decayed="matrices").items()}
    assert decays == {"0.weight": 0.01, "0.bias": 0.0, "1.weight": 0.0, "1.bias": 0.0}


def test_what_does_not_train_is_in_no_group_and_auxiliary_norms_are() -> None:
    network = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2))
    auxiliary = sharing_weights(network)
    network[0].bias.requires_grad_(False)
    groups = make_optimizer(network, make_recipe(), auxiliary).param_groups
    trained = {parameter for group in groups for parameter in group["params"]}
    assert trained == {network[0].weight, *network[1].parameters(), *auxiliary[1].parameters()}
