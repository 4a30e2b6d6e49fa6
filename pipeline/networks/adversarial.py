"""Adversarial examples: gradient ascent on the loss within a box around each image."""

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True)
class Attack:
    """Projected gradient descent in the L-infinity ball (Madry et al., ICLR 2018); one big step of it is FGSM.

    eps: how far a value may move, and step: how far it moves at once, both in 8-bit steps of 0..255.
    """

    eps: float
    step: float
    steps: int


def perturb(
    predict: Callable[[Tensor], Tensor],
    images: Tensor,
    labels: Tensor,
    attack: Attack,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Images float [k, 3, h, w] in 0..255, moved so that `predict`'s cross entropy grows; they stay within 0..255.

    predict: images in 0..255 to logits [k, c]; its own parameters get no gradients. generator: of a random start within
    the box; without one the start is the image.
    """
    low = (images - attack.eps).clamp(min=0)
    high = (images + attack.eps).clamp(max=255)
    moved = images
    if generator is not None:
        moved = torch.lerp(low, high, torch.rand(images.shape, generator=generator, device=images.device))
    for _ in range(attack.steps):
        moved = moved.detach().requires_grad_()
        logits = predict(moved).double()  # in float32 a sure answer has no gradient at all, and would seem robust
        (gradient,) = torch.autograd.grad(functional.cross_entropy(logits, labels), moved)
        moved = torch.minimum(torch.maximum(moved + attack.step * gradient.sign(), low), high)
    return moved.detach()


def sharing_weights(network: nn.Module) -> nn.Module:
    """A second network over the very same tensors, but for batch norms of its own."""
    twin = copy.deepcopy(network)
    for name, module in network.named_modules():
        if not isinstance(module, nn.BatchNorm2d):
            for key, tensor in module.named_parameters(recurse=False):
                twin.get_submodule(name).register_parameter(key, tensor)
    return twin
