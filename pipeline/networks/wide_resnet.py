"""Wide ResNet (Zagoruyko & Komodakis, BMVC 2016), pre-activated, with squeeze and excitation as report 004 has it."""

import torch
from torch import Tensor, nn

from pipeline.config.shared.networks import WideResNetConfig
from pipeline.networks.blocks import PreActivationBlock, initialise, make_stacks

STEM = 16


class WideResNet(nn.Module):
    """Images [n, 3, h, w] to logits [n, c]. Depth 28 and width 10 have 36.5 M parameters without attention."""

    def __init__(self, config: WideResNetConfig, classes: int) -> None:
        super().__init__()
        widths = [factor * config.width for factor in (16, 32, 64)]
        attention = "se" if config.se else "none"
        self.stem = nn.Conv2d(3, STEM, 3, padding=1, bias=False)
        self.stacks = make_stacks(
            [STEM, *widths],
            [(config.depth - 4) // 6] * 3,
            lambda inputs, outputs, stride: PreActivationBlock(
                inputs, outputs, stride, "relu", config.dropout, attention
            ),
        )
        self.norm = nn.BatchNorm2d(widths[-1])
        self.classifier = nn.Linear(widths[-1], classes)
        initialise(self)

    def forward(self, images: Tensor) -> Tensor:
        """See the class."""
        maps = torch.relu(self.norm(self.stacks(self.stem(images))))
        logits: Tensor = self.classifier(maps.mean((2, 3)))
        return logits
