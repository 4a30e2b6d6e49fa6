"""ResNetV2 of report 002: pre-activated standard blocks, and neither a norm nor an activation after the last."""

from torch import Tensor, nn

from pipeline.config.shared.networks import ResNetV2Config
from pipeline.networks.blocks import PreActivationBlock, initialise, make_stacks


class ResNetV2(nn.Module):
    """Images [n, 3, h, w] to logits [n, c].

    Widths 16, 32, 64 with 3 blocks each have 272,154 parameters for ten classes, and 64, 128, 256, 512 with 2 blocks
    11,171,146: the report's own totals.
    """

    def __init__(self, config: ResNetV2Config, classes: int) -> None:
        super().__init__()
        first = config.widths[0]
        last = config.widths[-1]
        self.stem = nn.Conv2d(3, first, 3, padding=1, bias=False)
        self.stacks = make_stacks(
            [first, *config.widths],
            [config.blocks] * len(config.widths),
            lambda inputs, outputs, stride: PreActivationBlock(inputs, outputs, stride, "relu", 0.0, "none"),
        )
        self.classifier = nn.Linear(last, classes)
        initialise(self)

    def forward(self, images: Tensor) -> Tensor:
        """See the class."""
        logits: Tensor = self.classifier(self.stacks(self.stem(images)).mean((2, 3)))
        return logits
