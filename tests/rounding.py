"""Tolerances that follow from a type and a count, so that they hold on any processor."""

import copy
import math

import torch
from torch import Tensor, nn

FLOAT32 = 2.0**-23  # one unit in the last place, relative
FLOAT16 = 2.0**-10
BFLOAT16 = 2.0**-7
FLOAT64 = 2.0**-52
DEVIATIONS = 4.0  # of the random errors' effect


def by_adam(lr: float, batch: int, weights: int, steps: int) -> float:
    """How far apart weights may end that Adam trains with sums in another order.

    The sum over a batch is off by about sqrt(batch) units in the last place of its terms. A step is lr * g / |g|, so
    what counts is that error relative to g itself, and the smallest of `weights` * `steps` gradients is about that
    fraction of a typical one. Weights that have moved apart by a step stay apart, so the errors of two steps can add.
    """
    return 2 * lr * batch**0.5 * FLOAT32 * weights * steps


def of_sums(count: int, size: float = 1.0) -> float:
    """How far two sums of `count` float32 terms of up to `size` may differ: half a unit for each addition, in both."""
    return count * FLOAT32 * size


def exact_features(network: nn.Module, images: Tensor) -> Tensor:
    """The features of images [k, 3, s, s] in float64 [k, d]."""
    with torch.inference_mode():
        features: Tensor = copy.deepcopy(network).double()(images.double())
    return features


def rounding_bound(network: nn.Module, images: Tensor) -> float:
    """The largest relative error of a row of features that float32 explains, whatever the order of its sums.

    Every module's output gets random relative errors in float64: float32's epsilon, times the square root of the count
    of terms for a sum (errors of independent roundings add up so). What that does to the features is what this network,
    its random weights included, makes of rounding errors on any processor.
    """
    random = torch.Generator().manual_seed(0)

    def disturb(module: nn.Module, _: object, output: Tensor) -> Tensor:
        terms = module.weight[0].numel() if isinstance(module, nn.Conv2d | nn.Linear) else 1
        errors = torch.randn(output.shape, generator=random, dtype=output.dtype)
        return output * (1 + FLOAT32 * math.sqrt(terms) * errors)

    disturbed = copy.deepcopy(network).double()
    for module in disturbed.modules():
        if not list(module.children()):
            module.register_forward_hook(disturb)
    with torch.inference_mode():
        features = disturbed(images.double())
    return DEVIATIONS * relative_error(features, exact_features(network, images))


def relative_error(features: Tensor, exact: Tensor) -> float:
    """The largest distance of a row from the exact one, relative to its length."""
    return float(((features.double() - exact).norm(dim=1) / exact.norm(dim=1)).max())
