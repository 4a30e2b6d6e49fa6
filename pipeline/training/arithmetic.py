"""In which numbers a training multiplies: automatic mixed precision, as far as the device is fast at it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode

PRECISIONS = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


@contextmanager
def mixed_precision(device: torch.device, precision: torch.dtype) -> Iterator[None]:
    """Autocast to `precision` inside the block; on a CPU depthwise convolutions stay in float32.

    oneDNN's gradients of depthwise weights take several times as long in bfloat16, so that a network of MBConv blocks
    would train no faster for it.
    """
    with torch.autocast(device.type, precision, enabled=precision != torch.float32):
        if device.type == "cpu" and precision != torch.float32:
            with _DepthwiseInFloat32():
                yield
        else:
            yield


class _DepthwiseInFloat32(TorchFunctionMode):
    """Takes grouped convolutions out of autocast."""

    def __torch_function__(
        self, function: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if function is not functional.conv2d or (args[6] if len(args) > 6 else kwargs.get("groups", 1)) == 1:
            return function(*args, **kwargs)
        pixels, *others = args
        with torch.autocast("cpu", enabled=False):
            return function(pixels.float(), *others, **kwargs)
