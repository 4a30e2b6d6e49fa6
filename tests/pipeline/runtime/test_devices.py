"""What of a device decides bytes is in its name, and what is switched for a block of work is switched back."""

import pytest
import torch

from pipeline.runtime.devices import device_kind, reproducible_kernels, settled_precision, tensor_cores, to_device


def test_kernels_are_reproducible_inside_the_block_alone() -> None:
    switches = torch.backends.cudnn
    before = (switches.deterministic, switches.benchmark, switches.allow_tf32)
    other = torch.backends.cudnn.flags(enabled=True, benchmark=True, allow_tf32=False)
    with pytest.raises(ValueError, match="inside"), other, reproducible_kernels():
        assert (switches.deterministic, switches.benchmark, switches.allow_tf32) == (True, False, True)
        raise ValueError("inside")
    assert (switches.deterministic, switches.benchmark, switches.allow_tf32) == before


def test_tensor_cores_of_a_gpu_go_with_reproducible_kernels_in_any_order() -> None:
    gpu = torch.device("cuda")
    before = torch.get_float32_matmul_precision()
    with tensor_cores(gpu), reproducible_kernels():
        assert torch.get_float32_matmul_precision() == "high"
    with reproducible_kernels(), tensor_cores(gpu):
        assert torch.backends.cudnn.allow_tf32
    assert torch.get_float32_matmul_precision() == before


def test_a_gpu_is_named_with_the_libraries_that_decide_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Card X")
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.backends.cudnn, "version", lambda: 91900)
    assert device_kind("auto") == "Card X, CUDA 13.0, cuDNN 91900"
    assert device_kind("cpu").startswith("cpu ")


def test_what_is_on_the_device_already_stays_there() -> None:
    rows = torch.arange(3)
    assert to_device(rows, torch.device("cpu")) is rows


@pytest.mark.parametrize(
    ("abilities", "chosen"),
    [
        ({"avx512_bf16": True}, "bfloat16"),
        ({"amx_bf16": True}, "bfloat16"),
        ({"avx512_f": True, "avx512_bf16": False}, "float32"),
        ({}, "float32"),
    ],
)
def test_auto_is_bfloat16_where_the_processor_has_instructions_for_it(
    abilities: dict[str, bool], chosen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: abilities)
    assert settled_precision("auto", torch.device("cpu")) == chosen
    assert settled_precision("float32", torch.device("cpu")) == "float32"


@pytest.mark.parametrize(("native", "chosen"), [(True, "bfloat16"), (False, "float32")])
def test_auto_is_bfloat16_where_the_card_has_it(native: bool, chosen: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: native and not including_emulation)
    assert settled_precision("auto", torch.device("cuda")) == chosen
