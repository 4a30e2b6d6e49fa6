"""bfloat16 where it is fast: not in float32's place everywhere."""

import torch
from torch import nn

from pipeline.training.arithmetic import mixed_precision

CPU = torch.device("cpu")


def test_depthwise_convolutions_stay_in_float32() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 3, padding=1, groups=4), nn.Conv2d(4, 2, 1))
    dtypes: list[torch.dtype] = []
    for layer in network:
        layer.register_forward_hook(lambda layer, inputs, output: dtypes.append(output.dtype))
    pixels = torch.rand(2, 3, 8, 8)
    with mixed_precision(CPU, torch.bfloat16):
        mixed = network(pixels)
    assert dtypes == [torch.bfloat16, torch.float32, torch.bfloat16]
    mixed.float().sum().backward()
    gradients = [parameter.grad for parameter in network.parameters()]
    assert all(gradient is not None and gradient.dtype == torch.float32 for gradient in gradients)
    exact = network(pixels)
    assert 0 < (mixed.float() - exact).abs().max() < 0.02
    with mixed_precision(CPU, torch.float32):
        assert torch.equal(network(pixels), exact)
