"""Where a classifier looks: how much its answer loses when a part of the image is covered (Zeiler & Fergus, 2014)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from cache.layout import Array
from pipeline.evaluation.robustness import to_pixels
from pipeline.inference.pixel_classifier import PixelClassifier
from pipeline.metrics.predictions import Predictions

CELLS = 7  # per side
COVER = 2  # cells wide and high
GREY = 127
SHOWN = 8
ROWS = 32


@dataclass(frozen=True)
class OcclusionMap:
    """An image of test. drops: by how much covering each cell lowers the probability of what is predicted, [7][7]."""

    id: str
    path: str
    actual: str
    predicted: str
    probability: float
    drops: Sequence[Sequence[float]]


def choose_images(predictions: Predictions, count: int = SHOWN) -> Array:
    """Rows: half of them the most confident mistakes, the others right ones of different classes."""
    confidence = predictions.probabilities.max(axis=1)
    order = np.argsort(-confidence, kind="stable")
    wrong = order[~predictions.correct[order]][: count // 2]
    right = order[predictions.correct[order]]
    _, firsts = np.unique(predictions.labels[right], return_index=True)
    return np.concatenate([wrong, right[np.sort(firsts)][: count - len(wrong)]])


def occlusion_drops(predict: PixelClassifier, image: Array) -> Array:
    """float32 [7, 7] for an image uint8 [h, w, 3]: the mean drop over the covers that lie on each cell."""
    height, width = image.shape[:2]
    covers = [(row, column) for row in range(CELLS - COVER + 1) for column in range(CELLS - COVER + 1)]
    batch = np.repeat(image[None], len(covers) + 1, axis=0)
    for number, (row, column) in enumerate(covers):
        top, bottom = (round(edge * height / CELLS) for edge in (row, row + COVER))
        left, right = (round(edge * width / CELLS) for edge in (column, column + COVER))
        batch[number, top:bottom, left:right] = GREY
    blocks = to_pixels(batch, predict.device).split(ROWS)
    probabilities = torch.cat([predict.probabilities(block).cpu() for block in blocks]).numpy()
    predicted = int(probabilities[-1].argmax())
    drops = probabilities[-1, predicted] - probabilities[:-1, predicted]
    total = np.zeros((CELLS, CELLS), dtype=np.float32)
    count = np.zeros((CELLS, CELLS), dtype=np.float32)
    for drop, (row, column) in zip(drops, covers, strict=True):
        total[row : row + COVER, column : column + COVER] += drop
        count[row : row + COVER, column : column + COVER] += 1
    return total / count
