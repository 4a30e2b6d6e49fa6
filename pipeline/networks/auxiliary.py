"""AdvProp's second network over the same weights (Xie et al., CVPR 2020)."""

import copy

from torch import nn


def sharing_weights(network: nn.Module) -> nn.Module:
    """A second network over the very same tensors, but for batch norms of its own."""
    twin = copy.deepcopy(network)
    for name, module in network.named_modules():
        if not isinstance(module, nn.BatchNorm2d):
            for key, tensor in module.named_parameters(recurse=False):
                twin.get_submodule(name).register_parameter(key, tensor)
    return twin
