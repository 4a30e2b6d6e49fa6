"""Ways to run a frozen network over batches, by name; which is fastest depends on the machine, so it is measured.

Measured without AMX (EfficientNet-B0, docs/speed.md): ONNX Runtime 3 to 6 times torch's eager kernels.
"""

import os
import shutil
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from cache.errors import InputError, ParamsError
from pipeline.features.exports import REMEDY, exported_network, no_onnx
from pipeline.runtime.devices import reproducible_kernels

Engine = Callable[[Tensor], Tensor]  # normalised images float32 [k, 3, s, s] to features [k, d]

COMPILE_OPTIONS: dict[str, Any] = {"freezing": True}
GPU_OPTIONS: dict[str, Any] = {"deterministic": True}  # no kernel is chosen by timing where that would change bits
CACHED_PIXELS = 65_536  # of the images that ONNX Runtime takes at once, so that what it works on stays in the cache
AGREEMENT = 0.999
COMPILERS = ("g++", "clang++", "c++", "cl")


@dataclass(frozen=True)
class Placement:
    """Where a network runs and what comes in: the device, the side of its images in pixels, bfloat16 or not."""

    device: torch.device
    size: int
    half: bool


def make_engine(name: str, network: nn.Module, placement: Placement) -> Engine:
    """The engine of this name (a key of `ENGINES`) around a frozen network."""
    return ENGINES[name](network, placement)


def _eager(network: nn.Module, placement: Placement) -> Engine:
    network = network.to(placement.device).to(memory_format=torch.channels_last)
    return _through_torch(network, placement)


def _compile(network: nn.Module, placement: Placement) -> Engine:
    """torch.compile. Raises InputError without the C++ compiler that it needs on a CPU."""
    if placement.device.type == "cpu" and not any(map(shutil.which, (os.environ.get("CXX", ""), *COMPILERS))):
        remedy = "Install g++, or set featurize.engine to auto, eager or onnx."
        raise InputError("compile needs a C++ compiler", where="featurize.engine", found="none", remedy=remedy)
    network = network.to(placement.device).to(memory_format=torch.channels_last)
    options = COMPILE_OPTIONS | (GPU_OPTIONS if placement.device.type == "cuda" else {})
    return _through_torch(torch.compile(network, dynamic=False, options=options), placement)


def _through_torch(run: Engine, placement: Placement) -> Engine:
    on_gpu = placement.device.type == "cuda"

    def features(inputs: Tensor) -> Tensor:
        half = torch.autocast(placement.device.type, torch.bfloat16, enabled=placement.half)
        kernels = reproducible_kernels() if on_gpu else nullcontext()  # whose switches all threads share
        with torch.inference_mode(), half, kernels:
            return run(inputs.contiguous(memory_format=torch.channels_last))

    return features


def _onnx(network: nn.Module, placement: Placement) -> Engine:
    """ONNX Runtime, one thread per call; the bits of a row are the same in blocks of any size (tested)."""
    if placement.device.type != "cpu":  # device: auto, on a machine with a GPU
        what = "onnx computes on the CPU"
        where = "params.yaml featurize.engine"
        raise ParamsError(
            what, where=where, found=placement.device.type, remedy=f"{REMEDY} Or set featurize.device to cpu."
        )
    size = placement.size
    return _session(
        exported_network(network, size, lambda content: _check(_session(content, size), network, size)), size
    )


def _session(exported: bytes, size: int) -> Engine:
    """A network as ONNX, run in blocks. Raises InputError where ONNX Runtime refuses it."""
    from onnxruntime import InferenceSession, SessionOptions
    from onnxruntime.capi import onnxruntime_pybind11_state as raised

    refusals = (
        raised.Fail,
        raised.InvalidArgument,
        raised.InvalidGraph,
        raised.NotImplemented,
        raised.RuntimeException,
    )
    options = SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    block = max(1, CACHED_PIXELS // size**2)
    try:
        session = InferenceSession(exported, options, providers=["CPUExecutionProvider"])
    except refusals as error:
        raise no_onnx(error) from error

    def features(inputs: Tensor) -> Tensor:
        blocks = inputs.contiguous().split(block)
        try:
            rows = [session.run(None, {"images": images.numpy()})[0] for images in blocks]
        except refusals as error:
            raise no_onnx(error) from error
        return torch.from_numpy(np.concatenate(rows))

    return features


def _check(engine: Engine, network: nn.Module, size: int) -> None:
    """Raise InputError if tracing has frozen what it should not: some networks look at their inputs to decide."""
    images = torch.rand(3, 3, size, size, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        features = engine(images)
        expected = network(images)
    same_shape = features.shape == expected.shape
    agreement = float(functional.cosine_similarity(features, expected).min()) if same_shape else 0.0
    if not expected.isfinite().all():
        return  # broken weights: the featurizer reports non-finite features
    if not agreement > AGREEMENT:
        wanted = f"a cosine of at least {AGREEMENT} to eager features"
        what = "this backbone changes in ONNX"
        raise InputError(what, where="featurize.engine", expected=wanted, found=f"{agreement:.6f}", remedy=REMEDY)


ENGINES: dict[str, Callable[[nn.Module, Placement], Engine]] = {"eager": _eager, "compile": _compile, "onnx": _onnx}
