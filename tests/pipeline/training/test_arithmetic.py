"""bfloat16 where it is fast: not in float32's place everywhere."""

import pytest
import torch
from torch import nn

from pipeline.training.arithmetic import mixed_precision, settled_precision

CPU = torch.device("cpu")


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
    assert settled_precision("auto", CPU) == chosen
    assert settled_precision("float32", CPU) == "float32"


@pytest.mark.parametrize(("native", "chosen"), [(True, "bfloat16"), (False, "float32")])
def test_auto_is_bfloat16_where_the_card_has_it(native: bool, chosen: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: native and not including_emulation)
    assert settled_precision("auto", torch.device("cuda")) == chosen


def test_depthwise_convolutions_stay_in_float32() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 3, padding=1, groups=4), nn.Conv2d(4, 2, 1))
    dtypes: list[torch.dtype] = []
    for layer in network:
        layer.register_forward_hook(lambda layer, inputs, output: dtypes.append(output.dtype))
    pixels = torch.rand(2, 3, 8, 8)
    with mixed_precision(CPU, torch.bfloat16):
        mixed = network(pixels)
    assert dtypes == [torch.bfloat16, torch.float32, torch.bfloat16]
    mixed.float().sum().backward()
    gradients = [parameter.grad for parameter in network.parameters()]
    assert all(gradient is not None and gradient.dtype == torch.float32 for gradient in gradients)
    exact = network(pixels)
    assert 0 < (mixed.float() - exact).abs().max() < 0.02
    with mixed_precision(CPU, torch.float32):
        assert torch.equal(network(pixels), exact)
