"""An MLP over standardised features."""

from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from cache.layout import Array

EVALUATION_ROWS = 8192
LEAST_OF_MAGNITUDE = 2**-6  # of a feature's own magnitude: rounding to float16 (2**-11 of it) then moves it by 2**-5


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


def steady_scale(mean: Tensor, deviation: Tensor, count: int) -> Tensor:
    """What features [d] are divided by, so that one that is (almost) constant on `count` rows is not magnified.

    A feature that never moved on `count` rows may move on the next one. Its variance is estimated as if one more row
    had been seen, which deviates as features typically do (a variance with a prior, as in Smyth, 2004): a dead feature
    gets typical / sqrt(count + 1), and one that varies as others do hardly changes. `typical` is the median deviation
    of the features that vary by more than the rounding of float16. A scale is also never below 1/64 of the feature's
    own magnitude, since differences smaller than rounding say nothing; and 1 if no feature varies at all.
    """
    magnitude = (mean.square() + deviation.square()).sqrt()
    least = LEAST_OF_MAGNITUDE * magnitude
    alive = deviation[deviation > least]
    typical = alive.median() if len(alive) else torch.ones_like(deviation[:1])
    pooled = ((count * deviation.square() + typical.square()) / (count + 1)).sqrt()
    return torch.maximum(pooled, least)


def predict_logits(head: Head, features: Tensor) -> Tensor:
    """Logits [n, c] in evaluation mode, on the head's device."""
    head.eval()
    with torch.inference_mode():
        blocks = [head(block.to(head.mean.device).float()) for block in features.split(EVALUATION_ROWS)]
        return torch.cat(blocks)


def accuracy_and_loss(head: Head, features: Array, labels: Array) -> tuple[float, float]:
    """Accuracy and mean cross entropy over all rows float [n, d]."""
    logits = predict_logits(head, torch.from_numpy(features)).double().cpu()
    actual = torch.from_numpy(np.asarray(labels, dtype=np.int64))
    accuracy = (logits.argmax(dim=1) == actual).double().mean()
    return float(accuracy), float(functional.cross_entropy(logits, actual))


class FineTuned(nn.Module):
    """A backbone with a head over it: normalised images [k, 3, s, s] to logits [k, c]."""

    def __init__(self, backbone: nn.Module, head: Head) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head

    def forward(self, images: Tensor) -> Tensor:
        """Logits [k, c]."""
        logits: Tensor = self.head(self.backbone(images))
        return logits


def fine_tuned(backbone: nn.Module, head: Head) -> FineTuned:
    """Both together, ready to be trained: a frozen backbone's parameters get gradients again."""
    return FineTuned(backbone.requires_grad_(True), head.requires_grad_(True))
