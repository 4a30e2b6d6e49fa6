"""A map is red where the answer comes from."""

import numpy as np
import pytest
import torch
from scored import predict
from torch import Tensor, nn

from pipeline.evaluation.occlusion import choose_images, occlusion_drops
from pipeline.inference.pixel_classifier import PixelClassifier


class LooksAtACorner(nn.Module):
    """Class 1 if the top left sixth of the image is bright."""

    def forward(self, pixels: Tensor) -> Tensor:
        side = pixels.shape[2] // 6
        bright = pixels[:, :, :side, :side].mean(dim=(1, 2, 3))
        return torch.stack([torch.zeros_like(bright), 10 * (bright - 0.75)], dim=1)


@pytest.mark.parametrize("side", [56, 30])
def test_covering_what_the_answer_depends_on_costs_most(side: int) -> None:
    network = PixelClassifier(LooksAtACorner(), (0.0,) * 3, (1.0,) * 3, side, "bilinear", 1.0, torch.device("cpu"))
    image = np.full((side, side, 3), 255, dtype=np.uint8)
    drops = occlusion_drops(network, image)
    assert drops.shape == (7, 7)
    assert np.unravel_index(drops.argmax(), drops.shape) == (0, 0)
    assert np.abs(drops[3:, 3:]).max() < 1e-6 < drops[0, 0]


def test_half_of_the_images_are_the_surest_mistakes() -> None:
    predictions = predict([0, 0, 1, 1, 2, 2], [0, 1, 1, 2, 2, 2], [0.9, 0.7, 0.8, 0.95, 0.6, 0.99])
    rows = choose_images(predictions, 4).tolist()
    assert rows[:2] == [3, 1] and set(rows[2:]) <= {0, 2, 5} and len(rows) == 4
