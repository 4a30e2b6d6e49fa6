"""The whole classifier as one ONNX network: uint8 images in, probabilities out."""

import io
import math
import warnings
from copy import deepcopy
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from cache.errors import InputError, RecordError
from cache.layout import Array
from pipeline.inference.bundle import ONNX, Bundle
from pipeline.ingest.decode import squared

OPSET = 18
INPUT = "images"
OUTPUT = "probabilities"
BATCH = 16
LEAST_FACTOR = 8  # of PyTorch's own rounding error, that ONNX Runtime's may be


class ImagesToProbabilities(nn.Module):
    """uint8 images [n, s, s, 3] of the stored size to probabilities [n, c], with all preprocessing inside.

    float32, or float64 after `.double()`. Views at test time are not part of it.
    """

    def __init__(self, bundle: Bundle) -> None:
        super().__init__()
        pixels = bundle.classifier.pixels
        self.network = deepcopy(pixels.network).cpu()
        self.temperature = pixels.temperature
        self.same_size = bundle.size == pixels.size
        # Resizing is linear and the same along both sides: resized unit columns are its whole matrix [size, s].
        units = torch.eye(bundle.size).view(bundle.size, 1, 1, bundle.size)
        resized = functional.interpolate(
            units, (1, pixels.size), mode=pixels.interpolation, antialias=True, align_corners=False
        )
        self.register_buffer("resize", resized[:, 0, 0].T.contiguous())
        for name, values in (("mean", pixels.mean), ("std", pixels.std)):
            self.register_buffer(name, torch.tensor(values).view(1, 3, 1, 1) * 255)

    def logits(self, images: Tensor) -> Tensor:
        """[n, c], divided by the temperature."""
        state: Any = self
        pixels = images.to(state.mean.dtype).permute(0, 3, 1, 2)
        if not self.same_size:
            pixels = (state.resize @ pixels @ state.resize.T).clamp(0, 255)
        logits: Tensor = self.network((pixels - state.mean) / state.std)
        return logits / self.temperature

    def forward(self, images: Tensor) -> Tensor:
        """See the class."""
        return torch.softmax(self.logits(images), dim=1)


def to_onnx(bundle: Bundle) -> bytes:
    """The network as an ONNX file's bytes; any number of images at once. Raises InputError if it has no such form."""
    example = torch.zeros((2, bundle.size, bundle.size, 3), dtype=torch.uint8)
    target = io.BytesIO()
    try:
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
    except (RuntimeError, ValueError, TypeError, NotImplementedError, AssertionError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)[:200]
        raise InputError("this network cannot be exported as ONNX", found=reason) from error
    return target.getvalue()


def checked_onnx(bundle: Bundle, images: Array) -> tuple[bytes | None, str]:
    """The network as ONNX, None if it has no such form, and a sentence about it.

    images: uint8 [n, h, w, 3] on which it is compared with PyTorch. Raises RecordError if the two disagree.
    """
    try:
        onnx = to_onnx(bundle)
    except InputError as error:
        return None, f"without {ONNX}: {error}"
    stored = np.stack([squared(image, bundle.size) for image in images]) if len(images) else images
    difference = largest_difference(bundle, onnx, stored)
    views = f" (views are not part of {ONNX})" if bundle.views else ""
    return onnx, f"ONNX and PyTorch differ by at most {difference:.1e} on {len(images)} images{views}"


def largest_difference(bundle: Bundle, onnx: bytes, images: Array) -> float:
    """Between probabilities of the ONNX network and of the bundle without views, over images uint8 [n, s, s, 3].

    The bundle rounds features to its own dtype and precision, the ONNX network does not. Raises RecordError if the
    ONNX network is wrong (`check_onnx`), so that a wrong export is never written.
    """
    if not len(images):
        return 0.0
    probabilities = run_onnx(onnx, images)
    # float64 takes seven times as long, so it sees the first batch alone
    check_onnx(ImagesToProbabilities(bundle).eval(), probabilities[:BATCH], images[:BATCH])
    return float(np.abs(probabilities - bundle.predict(images, ())).max())


def run_onnx(onnx: bytes, images: Array) -> Array:
    """Probabilities float32 [n, c] by ONNX Runtime on the CPU."""
    from onnxruntime import InferenceSession

    session = InferenceSession(onnx, providers=["CPUExecutionProvider"])
    blocks = [session.run([OUTPUT], {INPUT: images[at : at + BATCH]})[0] for at in range(0, len(images), BATCH)]
    return np.concatenate(blocks)


def check_onnx(network: ImagesToProbabilities, probabilities: Array, images: Array) -> None:
    """Refuse ONNX Runtime's probabilities if they are further from the exact ones than rounding can explain.

    The exact ones are computed in float64, and PyTorch's own float32 error tells how far rounding carries in this
    network, however much it magnifies. Two correct ways of summing n numbers, one after another or in blocks, differ in
    their error by about sqrt(n), so that factor is allowed, n being the widest sum in the network. Raises RecordError.
    """
    eager = _logits(network, images)
    exact = _logits(deepcopy(network).double(), images)
    own_error = float((eager.softmax(dim=1) - exact.softmax(dim=1)).abs().max())
    # The logits themselves are rounded to float32, and a softmax carries on half of that.
    least_error = torch.finfo(torch.float32).eps * max(1.0, float(exact.abs().max()))
    allowed = max(LEAST_FACTOR, math.sqrt(_widest_sum(network))) * max(own_error, least_error)
    difference = float((torch.from_numpy(probabilities) - exact.softmax(dim=1)).abs().max())
    if not difference <= allowed:
        expected = f"a difference of at most {allowed:.1e}"
        remedy = "Report this with your params.yaml."
        raise RecordError("ONNX and PyTorch disagree", expected=expected, found=f"{difference:.1e}", remedy=remedy)


def _logits(network: ImagesToProbabilities, images: Array) -> Tensor:
    """float64 [n, c], computed in the network's own precision."""
    with torch.no_grad():
        blocks = [network.logits(block) for block in torch.from_numpy(images).split(BATCH)]
    return torch.cat(blocks).double()


def _widest_sum(network: nn.Module) -> int:
    """The most numbers that one output of a layer is the sum of."""
    return max(weights[0].numel() for weights in network.parameters() if weights.ndim > 1)
