"""Which device computes, and what of it decides bytes."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from cache.errors import ParamsError


def choose_device(device: str) -> torch.device:
    """The device of this name, `auto` being a GPU where there is one. Raises ParamsError."""
    if device == "cuda" and not torch.cuda.is_available():
        raise ParamsError("no GPU is available", where="params.yaml device", found="cuda", remedy="Set auto.")
    return torch.device("cuda" if device != "cpu" and torch.cuda.is_available() else "cpu")


@contextmanager
def tensor_cores(device: torch.device) -> Iterator[None]:
    """A GPU's float32 matrix products in TF32 inside the block; a CPU's are left as they are."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if device.type == "cuda" else before)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def device_kind(device: str) -> str:
    """The device as far as it decides bytes: the GPU's model, or the processor's vector instructions."""
    if choose_device(device).type == "cuda":
        return torch.cuda.get_device_name()
    return f"cpu {torch.backends.cpu.get_cpu_capability()}"
