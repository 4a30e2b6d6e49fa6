"""Blocks that several networks share."""

from collections.abc import Callable, Iterator
from functools import partial

import torch
from timm.layers.norm import LayerNorm2d
from torch import Tensor, nn
from torchvision.ops import SqueezeExcitation

SPATIAL_KERNEL = 7  # Woo et al., ECCV 2018
REDUCTION = 16  # of channels inside an attention block: Hu et al., CVPR 2018, and Woo et al.
POOL = 5  # report 000


class Swish(nn.Module):
    """x * sigmoid(beta x), beta trainable and 1 at first (Ramachandran et al., 2017)."""

    def __init__(self) -> None:
        super().__init__()
        self.beta = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        """Of any shape."""
        return x * torch.sigmoid(self.beta * x)


ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": partial(nn.ReLU, inplace=True),
    "mish": nn.Mish,
    "gelu": nn.GELU,
    "swish": nn.SiLU,  # beta fixed at 1
    "swish_trainable": Swish,
}
NORMS: dict[str, Callable[[int], nn.Module]] = {"batch": nn.BatchNorm2d, "layer": LayerNorm2d}


class SpatialPyramid(nn.Module):
    """Report 000's SPP block: [n, c, h, w] to the same shape.

    1x1 convolution to c/2 channels, three 5x5 max-pools one after another, all four maps side by side, 1x1 back to c.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.narrow = nn.Conv2d(channels, channels // 2, 1)
        self.pool = nn.MaxPool2d(POOL, stride=1, padding=POOL // 2)
        self.widen = nn.Conv2d(4 * (channels // 2), channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        maps = [self.narrow(x)]
        for _ in range(3):
            maps.append(self.pool(maps[-1]))
        widened: Tensor = self.widen(torch.cat(maps, dim=1))
        return widened


class Cbam(nn.Module):
    """Convolutional block attention (Woo et al., ECCV 2018): channels first, then places."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = max(1, channels // REDUCTION)
        self.squeeze = nn.Conv2d(channels, hidden, 1, bias=False)
        self.excite = nn.Conv2d(hidden, channels, 1, bias=False)
        self.place = nn.Conv2d(2, 1, SPATIAL_KERNEL, padding=SPATIAL_KERNEL // 2, bias=False)
        self.norm = nn.BatchNorm2d(1)

    def forward(self, x: Tensor) -> Tensor:
        """[n, c, h, w] to the same shape."""
        pooled = (x.mean((2, 3), keepdim=True), x.amax((2, 3), keepdim=True))
        x = x * torch.sigmoid(sum(self.excite(torch.relu(self.squeeze(values))) for values in pooled))
        places = torch.cat([x.mean(1, keepdim=True), x.amax(1, keepdim=True)], dim=1)
        return x * torch.sigmoid(self.norm(self.place(places)))


def _squeeze_excitation(channels: int) -> nn.Module:
    attention: nn.Module = SqueezeExcitation(channels, max(1, channels // REDUCTION))
    return attention


ATTENTION: dict[str, Callable[[int], nn.Module]] = {
    "none": lambda channels: nn.Identity(),
    "se": _squeeze_excitation,
    "cbam": Cbam,
}


class PreActivationBlock(nn.Module):
    """A standard block with norm and activation before each 3x3 convolution (He et al., ECCV 2016).

    Where the shape changes, the shortcut is a 1x1 convolution, without a norm of its own, of the activated input.
    attention: what the sum's second part goes through last.
    """

    def __init__(self, inputs: int, outputs: int, stride: int, activation: str, dropout: float, attention: str) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(inputs)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.activation = ACTIVATIONS[activation]()
        self.dropout = nn.Dropout(dropout)
        self.attention = ATTENTION[attention](outputs)
        same = stride == 1 and inputs == outputs
        self.shortcut = None if same else nn.Conv2d(inputs, outputs, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """[n, inputs, h, w] to [n, outputs, h / stride, w / stride]."""
        activated = self.activation(self.norm1(x))
        kept = x if self.shortcut is None else self.shortcut(activated)
        inner = self.conv1(activated)
        inner = self.conv2(self.dropout(self.activation(self.norm2(inner))))
        summed: Tensor = kept + self.attention(inner)
        return summed


def make_stacks(widths: list[int], blocks: list[int], make: Callable[[int, int, int], nn.Module]) -> nn.Sequential:
    """Blocks from widths[0] channels on, `make(inputs, outputs, stride)`; every stack but the first halves the map."""

    def in_order() -> Iterator[nn.Module]:
        inputs = widths[0]
        for number, (outputs, count) in enumerate(zip(widths[1:], blocks, strict=True)):
            for block in range(count):
                yield make(inputs, outputs, 2 if number and not block else 1)
                inputs = outputs

    return nn.Sequential(*in_order())


def initialise(network: nn.Module) -> None:
    """Convolutions as in He et al., ICCV 2015; gates keep torch's own start, which leaves them half open."""
    gates = [module for module in network.modules() if isinstance(module, Cbam | SqueezeExcitation)]
    gating = {part for gate in gates for part in gate.modules()}
    for module in network.modules():
        if isinstance(module, nn.Conv2d) and module not in gating:
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
