"""Report 003's network: a pre-activation ResNet with Mish, attention in every block and a Transformer block."""

import torch
from torch import Tensor, nn

from pipeline.config.shared.networks import AttentionResNetConfig
from pipeline.networks.blocks import PreActivationBlock, initialise, make_stacks


class PlaceTransformer(nn.Module):
    """A Transformer encoder layer, norm first, over the places of a map [n, c, h, w], which keeps its shape.

    It has no position encoding: convolutions padded with zeros already tell where a place is.
    """

    def __init__(self, channels: int, heads: int, feedforward: int, dropout: float) -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(
            channels, heads, feedforward, dropout, activation="gelu", batch_first=True, norm_first=True
        )

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        places = self.layer(x.flatten(2).transpose(1, 2))  # [n, h * w, c]
        back: Tensor = places.transpose(1, 2).reshape(x.shape)
        return back


class AttentionResNet(nn.Module):
    """Images [n, 3, h, w] to logits [n, c]."""

    def __init__(self, config: AttentionResNetConfig, classes: int) -> None:
        super().__init__()
        first = config.widths[0]
        last = config.widths[-1]
        self.stem = nn.Conv2d(3, first, 3, padding=1, bias=False)
        self.stacks = make_stacks([first, *config.widths], config.blocks, self._block(config))
        self.transformer: nn.Module = nn.Identity()
        if config.heads:
            self.transformer = PlaceTransformer(last, config.heads, config.feedforward, config.dropout)
        self.norm = nn.BatchNorm2d(last)
        self.activation = nn.Mish()
        self.dropout = nn.Dropout(config.dropout)
        self.classifier = nn.Linear(last, classes)
        initialise(self)

    @staticmethod
    def _block(config: AttentionResNetConfig):  # type: ignore[no-untyped-def]
        return lambda inputs, outputs, stride: PreActivationBlock(
            inputs, outputs, stride, "mish", config.dropout, config.attention
        )

    def forward(self, images: Tensor) -> Tensor:
        """See the class."""
        maps = self.activation(self.norm(self.transformer(self.stacks(self.stem(images)))))
        logits: Tensor = self.classifier(self.dropout(torch.mean(maps, dim=(2, 3))))
        return logits
