"""The whole classifier as one ONNX network: uint8 images in, probabilities out."""

import io
import warnings
from copy import deepcopy
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from cache.errors import RecordError
from cache.layout import Array
from pipeline.inference.bundle import Bundle

OPSET = 18
INPUT, OUTPUT, BATCH = "images", "probabilities", 64
TOLERANCE = 0.02  # of a probability: features are rounded to float16 on one way and not on the other


class ImagesToProbabilities(nn.Module):
    """uint8 images [n, s, s, 3] of the stored size to probabilities float32 [n, c], with all preprocessing inside."""

    def __init__(self, bundle: Bundle) -> None:
        super().__init__()
        pixels = bundle.classifier.pixels
        self.network, self.temperature = deepcopy(pixels.network).cpu(), pixels.temperature
        self.same_size = bundle.size == pixels.size
        # Resizing is linear and the same along both sides, so the image of each unit column tells it all: [size, s].
        units = torch.eye(bundle.size).view(bundle.size, 1, 1, bundle.size)
        resized = functional.interpolate(
            units, (1, pixels.size), mode=pixels.interpolation, antialias=True, align_corners=False
        )
        self.register_buffer("resize", resized[:, 0, 0].T.contiguous())
        for name, values in (("mean", pixels.mean), ("std", pixels.std)):
            self.register_buffer(name, torch.tensor(values).view(1, 3, 1, 1) * 255)

    def forward(self, images: Tensor) -> Tensor:
        """See the class."""
        state: Any = self
        pixels = images.to(torch.float32).permute(0, 3, 1, 2)
        if not self.same_size:
            pixels = (state.resize @ pixels @ state.resize.T).clamp(0, 255)
        logits = self.network((pixels - state.mean) / state.std)
        return torch.softmax(logits / self.temperature, dim=1)


def to_onnx(bundle: Bundle) -> bytes:
    """The network as an ONNX file's bytes; any number of images at once."""
    example = torch.zeros((2, bundle.size, bundle.size, 3), dtype=torch.uint8)
    target = io.BytesIO()
    with warnings.catch_warnings(action="ignore"), torch.no_grad():
        program: Any = torch.onnx.export(
            ImagesToProbabilities(bundle).eval(),
            (example,),
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_shapes=({0: torch.export.Dim("n", min=1)},),
            opset_version=OPSET,
            verbose=False,
        )
        program.save(target)
    return target.getvalue()


def largest_difference(bundle: Bundle, onnx: bytes, images: Array) -> float:
    """Between probabilities of the ONNX network and of the bundle, over images uint8 [n, s, s, 3].

    Raises RecordError where they disagree, so that a wrong export is never written.
    """
    from onnxruntime import InferenceSession

    session = InferenceSession(onnx, providers=["CPUExecutionProvider"])
    found = [session.run([OUTPUT], {INPUT: images[at : at + BATCH]})[0] for at in range(0, len(images), BATCH)]
    difference = float(np.abs(np.concatenate(found) - bundle.predict(images)).max()) if len(images) else 0.0
    if difference > TOLERANCE:
        expected, remedy = f"a difference of at most {TOLERANCE}", "Report this with your params.yaml."
        raise RecordError("ONNX and PyTorch disagree", expected=expected, found=f"{difference:.4f}", remedy=remedy)
    return difference
