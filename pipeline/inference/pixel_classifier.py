"""A whole classifier as one differentiable network from pixels: a head over its backbone, or a full model."""

from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from pipeline.networks.resize import resized


@dataclass(frozen=True)
class PixelClassifier:
    """Images float or uint8 [k, 3, h, w] in 0..255 to logits [k, c], divided by the temperature; eager and float32.

    network: normalised images [k, 3, size, size] to logits, in evaluation mode. mean, std: of RGB inputs in 0..1.
    """

    network: nn.Module
    mean: tuple[float, ...]
    std: tuple[float, ...]
    size: int
    interpolation: str
    temperature: float
    device: torch.device

    def __call__(self, pixels: Tensor) -> Tensor:
        mean, std = self._normalisation
        inputs = (resized(pixels.float(), self.size, self.interpolation) - mean) / std
        logits: Tensor = self.network(inputs.contiguous(memory_format=torch.channels_last))
        return logits / self.temperature

    @cached_property
    def _normalisation(self) -> tuple[Tensor, Tensor]:
        """mean, std of 0..255 on the device; copied there once, since every copy waits for a GPU."""
        with torch.inference_mode(False):
            mean = torch.tensor(self.mean, device=self.device).view(1, 3, 1, 1) * 255
            return mean, torch.tensor(self.std, device=self.device).view(1, 3, 1, 1) * 255

    def probabilities(self, pixels: Tensor) -> Tensor:
        """float32 [k, c], without gradients."""
        with torch.no_grad():
            return torch.softmax(self(pixels).double(), dim=1).float()


def on_device(network: nn.Module, device: torch.device) -> nn.Module:
    """A copy on the device, in evaluation mode; the network itself stays where it is."""
    return deepcopy(network).to(device).to(memory_format=torch.channels_last).eval()
