"""Networks as ONNX, kept in the store: exporting one again would cost every process one to five seconds."""

import hashlib
import io
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import nn

from cache.errors import AugcacheError, DamagedFile, InputError
from cache.layout import recipe_key
from cache.parts import store_folder
from cache.sealed import read_sealed, write_sealed
from pipeline.features.backbone import weights_digest

OPSET = 17
REMEDY = "Set featurize.engine to auto, eager or compile."
LIBRARIES = ("torch", "timm", "efficientnet-pytorch", "onnxruntime")
# What exporting raises for networks that ONNX, or the tracing before it, does not know.
UNTRACEABLE = (RuntimeError, ValueError, TypeError, NotImplementedError, AttributeError, LookupError, AssertionError)


def exported_network(network: nn.Module, size: int, check: Callable[[bytes], object]) -> bytes:
    """The network for images of `size` pixels as ONNX: the kept one, or a new one that `check` has passed.

    Raises InputError for a network that cannot be exported, and what `check` raises.
    """
    path = _path(network, size)
    with suppress(OSError, DamagedFile):  # not kept yet, or not legible: it can be made again
        content = read_sealed(path)
        _renew(path)
        return content
    content = _export(network, size)
    check(content)
    with suppress(OSError, AugcacheError):  # a machine that only predicts may have no store
        write_sealed(path, content)
    return content


def _renew(path: Path) -> None:
    """Tell `store prune` that it is in use; a store that may only be read has no ages."""
    with suppress(OSError):
        os.utime(path)


def no_onnx(error: Exception) -> InputError:
    """What a user reads of a network that ONNX, or its runtime, does not take."""
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return InputError("this backbone cannot be exported to ONNX", found=reason, remedy=REMEDY)


def _path(network: nn.Module, size: int) -> Path:
    """By all that decides an export: weights, structure, layers, size, opset and versions."""
    structure = hashlib.sha256(repr(network).encode()).hexdigest()
    key = {
        "weights": weights_digest(network),
        "structure": structure,
        "layers": list(getattr(network, "layers", ())),
        "size": size,
        "opset": OPSET,
        "libraries": {name: version(name) for name in LIBRARIES},
    }
    return store_folder() / "engines" / f"{recipe_key(key)}.onnx"


def _export(network: nn.Module, size: int) -> bytes:
    """By torch's older exporter: a fifth of the time of the newer one, which start-up pays."""
    target = io.BytesIO()
    example = torch.zeros(2, 3, size, size)
    given: Any = target  # whose type the exporter forgets to name
    names: dict[str, Any] = {"input_names": ["images"], "output_names": ["features"]}
    names["dynamic_axes"] = {"images": {0: "n"}, "features": {0: "n"}}
    try:
        with warnings.catch_warnings(action="ignore"), torch.no_grad(), _graph_not_printed():
            torch.onnx.export(network.cpu(), (example,), given, opset_version=OPSET, dynamo=False, **names)
    except UNTRACEABLE as error:
        raise no_onnx(error) from error
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
