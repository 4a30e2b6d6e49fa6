"""The card, its libraries, and two ceilings: bytes moved and matrix products per second."""

import platform

import torch
from common import DEVICE, DRY, rate_of, record

from pipeline.runtime.devices import device_kind
from pipeline.runtime.provenance import package_versions


def main() -> None:
    versions = dict(package_versions()) | {"torch": torch.__version__}
    record("machine", device=device_kind(DEVICE), python=platform.python_version(), versions=versions)
    if DEVICE == "cuda":
        card = torch.cuda.get_device_properties(0)
        record("card", name=card.name, memory_gib=card.total_memory / 2**30, multiprocessors=card.multi_processor_count)
    side = 256 if DRY else 8192
    torch.set_float32_matmul_precision("high" if DEVICE == "cuda" else "highest")
    for name, dtype in (("float32 (TF32 on a GPU)", torch.float32), ("bfloat16", torch.bfloat16)):
        left, right = torch.randn(2, side, side, device=DEVICE).to(dtype)
        rate = rate_of(lambda left=left, right=right: left @ right, 10) * 2 * side**3
        record("matrix products", dtype=name, tflops=rate / 1e12)
    block = torch.randn((1 << 16) if DRY else (1 << 30), device=DEVICE)
    rate = rate_of(block.clone, 10) * 2 * block.numel() * 4
    record("copy on the device", tb_per_second=rate / 1e12)
    host = torch.empty((1 << 16) if DRY else (1 << 28), dtype=torch.uint8, pin_memory=DEVICE == "cuda")
    rate = rate_of(lambda: host.to(DEVICE, non_blocking=True, copy=True), 10) * host.numel()
    record("copy to the device", gb_per_second=rate / 1e9)


if __name__ == "__main__":
    main()
