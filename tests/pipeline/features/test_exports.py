"""A network is exported to ONNX once: the kept export serves until anything that decides it changes."""

import os
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from cache.errors import InputError
from pipeline.features.engines import Placement, make_engine
from pipeline.runtime.devices import choose_device

IMAGES = torch.rand(3, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def small_network(width: int = 4) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, width, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()


def onnx_features(network: nn.Module) -> Tensor:
    return make_engine("onnx", network, Placement(choose_device("cpu"), 8, False))(IMAGES)


@pytest.fixture
def exports(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by one per export."""
    counted: list[int] = []
    export = torch.onnx.export

    def counting(*arguments: object, **named: object) -> object:
        counted.append(1)
        return export(*arguments, **named)

    monkeypatch.setattr(torch.onnx, "export", counting)
    return counted


def test_the_second_process_finds_the_export_of_the_first(exports: list[int], store: Path) -> None:
    first = onnx_features(small_network())
    assert torch.equal(onnx_features(small_network()), first) and len(exports) == 1
    assert len(list((store / "engines").glob("*.onnx"))) == 1


def test_an_export_that_is_used_is_not_old(exports: list[int], store: Path) -> None:
    onnx_features(small_network())
    (kept,) = (store / "engines").glob("*.onnx")
    os.utime(kept, (1000, 1000))
    onnx_features(small_network())
    assert kept.stat().st_mtime > 1000 and len(exports) == 1


def test_other_weights_or_another_structure_are_exported_anew(exports: list[int]) -> None:
    network = small_network()
    onnx_features(network)
    with torch.no_grad():
        network[0].bias += 1
    assert not torch.equal(onnx_features(network), onnx_features(small_network()))
    onnx_features(small_network(5))
    network[1] = nn.Tanh()
    onnx_features(network)
    assert len(exports) == 4


def test_a_damaged_export_is_made_again(exports: list[int], store: Path) -> None:
    first = onnx_features(small_network())
    (kept,) = (store / "engines").glob("*.onnx")
    content = bytearray(kept.read_bytes())
    content[-9] ^= 1
    kept.write_bytes(content)
    assert torch.equal(onnx_features(small_network()), first) and len(exports) == 2


def test_what_changes_in_onnx_is_not_kept(store: Path) -> None:
    class Fickle(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            features = images.mean(dim=(2, 3))
            return features if len(images) == 2 else -features

    for _ in range(2):
        with pytest.raises(InputError, match="changes in ONNX"):
            onnx_features(Fickle())
    assert not list(store.glob("engines/*.onnx"))
