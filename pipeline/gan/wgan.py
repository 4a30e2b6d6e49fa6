"""Many small linear networks side by side: the first axis of weights is the class, so a layer is a batched product."""

from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

SLOPE = 0.2  # of leaky ReLUs
MOMENTUM = 0.1
EPSILON = 1e-5


class ParallelLinear(nn.Module):
    """[k, b, inputs] to [k, b, outputs] by k separate layers, each initialised by the generator of its class."""

    def __init__(self, generators: list[np.random.Generator], inputs: int, outputs: int) -> None:
        super().__init__()
        bound = inputs**-0.5  # as nn.Linear draws
        drawn = [random.uniform(-bound, bound, (inputs + 1, outputs)).astype(np.float32) for random in generators]
        both = torch.from_numpy(np.stack(drawn))
        self.weight = nn.Parameter(both[:, :-1].clone())
        self.bias = nn.Parameter(both[:, -1:].clone())

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        return torch.baddbmm(self.bias, x, self.weight)


class ParallelNorm(nn.Module):
    """Batch norm over the b rows of each of k networks [k, b, width]."""

    mean: Tensor
    variance: Tensor

    def __init__(self, networks: int, width: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(networks, 1, width))
        self.bias = nn.Parameter(torch.zeros(networks, 1, width))
        self.register_buffer("mean", torch.zeros(networks, 1, width))
        self.register_buffer("variance", torch.ones(networks, 1, width))

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        if self.training:
            variance, mean = torch.var_mean(x, dim=1, keepdim=True, correction=0)
            with torch.no_grad():
                self.mean.lerp_(mean, MOMENTUM)
                self.variance.lerp_(variance, MOMENTUM)
        else:
            mean = self.mean
            variance = self.variance
        return (x - mean) * torch.rsqrt(variance + EPSILON) * self.gain + self.bias


class ParallelGenerator(nn.Module):
    """Noise [k, b, latent] to images [k, b, 3 * s * s] in -1..1: linear layers, all but the first with batch norm."""

    def __init__(self, generators: list[np.random.Generator], latent: int, hidden: list[int], size: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for number, (inputs, outputs) in enumerate(pairwise([latent, *hidden])):
            layers.append(ParallelLinear(generators, inputs, outputs))
            layers += [ParallelNorm(len(generators), outputs)] if number else []
            layers.append(nn.LeakyReLU(SLOPE))
        self.layers = nn.Sequential(*layers, ParallelLinear(generators, hidden[-1], 3 * size * size))

    def forward(self, noise: Tensor) -> Tensor:
        """See the class."""
        return torch.tanh(self.layers(noise))


class ParallelCritic(nn.Module):
    """Images [k, b, 3 * s * s] to scores [k, b]."""

    def __init__(self, generators: list[np.random.Generator], hidden: list[int], size: int) -> None:
        super().__init__()
        widths = [3 * size * size, *hidden, 1]
        self.layers = nn.ModuleList(ParallelLinear(generators, *pair) for pair in pairwise(widths))

    def forward(self, images: Tensor) -> Tensor:
        """See the class."""
        for layer in self.layers[:-1]:
            images = functional.leaky_relu(layer(images), SLOPE)
        scores: Tensor = self.layers[-1](images)
        return scores[:, :, 0]
