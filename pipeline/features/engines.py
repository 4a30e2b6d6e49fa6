"""Ways to run a frozen network over batches, by name; which is fastest depends on the machine, so it is measured.

Measured without AMX (EfficientNet-B0, docs/speed.md): ONNX Runtime 3 to 6 times torch's eager kernels.
"""

import io
import os
import shutil
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from cache.errors import InputError, ParamsError

Engine = Callable[[Tensor], Tensor]  # normalised images float32 [k, 3, s, s] to features [k, d]

COMPILE_OPTIONS: dict[str, Any] = {"freezing": True}
CACHED_PIXELS = 65_536  # of the images that ONNX Runtime takes at once, so that what it works on stays in the cache
OPSET = 17
AGREEMENT = 0.999
REMEDY = "Set featurize.engine to auto, eager or compile."
COMPILERS = ("g++", "clang++", "c++", "cl")
# What exporting raises for networks that ONNX, or the tracing before it, does not know.
UNTRACEABLE = (RuntimeError, ValueError, TypeError, NotImplementedError, AttributeError, LookupError, AssertionError)


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
    return _through_torch(torch.compile(network, options=COMPILE_OPTIONS), placement)


def _through_torch(run: Engine, placement: Placement) -> Engine:
    def features(inputs: Tensor) -> Tensor:
        with torch.inference_mode(), torch.autocast(placement.device.type, torch.bfloat16, enabled=placement.half):
            return run(inputs.contiguous(memory_format=torch.channels_last))

    return features


def _onnx(network: nn.Module, placement: Placement) -> Engine:
    """ONNX Runtime, one thread per call; the bits of a row are the same in blocks of any size (tested)."""
    from onnxruntime import InferenceSession, SessionOptions
    from onnxruntime.capi import onnxruntime_pybind11_state as raised

    if placement.device.type != "cpu":  # device: auto, on a machine with a GPU
        what = "onnx computes on the CPU"
        where = "params.yaml featurize.engine"
        raise ParamsError(
            what, where=where, found=placement.device.type, remedy=f"{REMEDY} Or set featurize.device to cpu."
        )
    options = SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    refusals = (
        raised.Fail,
        raised.InvalidArgument,
        raised.InvalidGraph,
        raised.NotImplemented,
        raised.RuntimeException,
    )
    exported = _exported(network, placement.size)
    try:
        session = InferenceSession(exported, options, providers=["CPUExecutionProvider"])
    except refusals as error:
        raise _no_onnx(error) from error
    block = max(1, CACHED_PIXELS // placement.size**2)

    def features(inputs: Tensor) -> Tensor:
        blocks = inputs.contiguous().split(block)
        return torch.from_numpy(np.concatenate([session.run(None, {"images": images.numpy()})[0] for images in blocks]))

    try:
        _check(features, network, placement.size)
    except refusals as error:
        raise _no_onnx(error) from error
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


def _exported(network: nn.Module, size: int) -> bytes:
    """The network as ONNX. By torch's older exporter: a fifth of the time of the newer one, which start-up pays."""
    target = io.BytesIO()
    example = torch.zeros(2, 3, size, size)
    given: Any = target  # whose type the exporter forgets to name
    names: dict[str, Any] = {"input_names": ["images"], "output_names": ["features"]}
    names["dynamic_axes"] = {"images": {0: "n"}, "features": {0: "n"}}
    try:
        with warnings.catch_warnings(action="ignore"), torch.no_grad(), _graph_not_printed():
            torch.onnx.export(network.cpu(), (example,), given, opset_version=OPSET, dynamo=False, **names)
    except UNTRACEABLE as error:
        raise _no_onnx(error) from error
    return target.getvalue()


@contextmanager
def _graph_not_printed() -> Iterator[None]:
    """Without this torch 2.15 prints the whole graph if an export fails: it tests a function instead of its result."""
    switch = torch._C._jit_set_onnx_log_enabled
    torch._C._jit_set_onnx_log_enabled = lambda enabled: None
    try:
        yield
    finally:
        torch._C._jit_set_onnx_log_enabled = switch


def _no_onnx(error: Exception) -> InputError:
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return InputError("this backbone cannot be exported to ONNX", found=reason, remedy=REMEDY)


ENGINES: dict[str, Callable[[nn.Module, Placement], Engine]] = {"eager": _eager, "compile": _compile, "onnx": _onnx}
