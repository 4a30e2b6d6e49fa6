"""Which device computes, what of it decides bytes, and how not to wait for it."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from cache.errors import ParamsError


def choose_device(device: str) -> torch.device:
    """The device of this name, `auto` being a GPU where there is one. Raises ParamsError."""
    if device == "cuda" and not torch.cuda.is_available():
        raise ParamsError("no GPU is available", where="params.yaml device", found="cuda", remedy="Set auto.")
    return torch.device("cuda" if device != "cpu" and torch.cuda.is_available() else "cpu")


def settled_precision(precision: str, device: torch.device) -> str:
    """What `auto` is on this device: bfloat16 where it has instructions for it, else float32."""
    if precision != "auto":
        return precision
    if device.type == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        # Older versions of torch do not tell.
        abilities: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()
        native = bool(abilities.get("avx512_bf16") or abilities.get("amx_bf16"))
    return "bfloat16" if native else "float32"


@contextmanager
def tensor_cores(device: torch.device) -> Iterator[None]:
    """A GPU's float32 matrix products in TF32 inside the block; a CPU's are left as they are."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if device.type == "cuda" else before)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


@contextmanager
def reproducible_kernels() -> Iterator[None]:
    """A GPU's convolutions give the same bits every time inside the block, by algorithms that no timing chooses.

    Their float32 is TF32, whatever the program has set. A CPU is left as it is.
    """
    with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=True):
        yield


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """The tensor on the device. A GPU copies it from page-locked memory, so that nobody waits for the work before."""
    if device.type == "cuda" and tensor.device.type == "cpu":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def device_kind(device: str) -> str:
    """The device as far as it decides bytes: the GPU's model and its libraries, or the processor's vector instructions.

    torch's own version, which keys hold beside it, does not say which cuDNN it found.
    """
    if choose_device(device).type == "cuda":
        return f"{torch.cuda.get_device_name()}, CUDA {torch.version.cuda}, cuDNN {torch.backends.cudnn.version()}"
    return f"cpu {torch.backends.cpu.get_cpu_capability()}"
