"""An MLP over standardised features."""

from itertools import pairwise

import torch
from torch import Tensor, nn

EVALUATION_ROWS = 8192


class Head(nn.Module):
    """Features [n, d] to logits [n, c]: standardised by the training set's mean and deviation, then an MLP."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, widths: list[int], dropout: float, input_dropout: float) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(widths[0]))
        self.register_buffer("deviation", torch.ones(widths[0]))
        layers: list[nn.Module] = [nn.Dropout(input_dropout)]
        for depth, (inputs, outputs) in enumerate(pairwise(widths)):
            layers += [nn.ReLU(), nn.Dropout(dropout)] if depth else []
            layers.append(nn.Linear(inputs, outputs))
        self.layers = nn.Sequential(*layers)
        self.widths = widths

    def forward(self, features: Tensor) -> Tensor:
        """Logits [n, c] of float32 features [n, d]."""
        logits: Tensor = self.layers((features - self.mean).div_(self.deviation))
        return logits


def predict_logits(head: Head, features: Tensor) -> Tensor:
    """Logits [n, c] in evaluation mode, on the head's device."""
    head.eval()
    with torch.inference_mode():
        blocks = [head(block.to(head.mean.device).float()) for block in features.split(EVALUATION_ROWS)]
        return torch.cat(blocks)
