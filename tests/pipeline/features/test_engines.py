"""Engines give one network's features; what one of them cannot do is refused in a line."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from rounding import exact_features, relative_error, rounding_bound
from torch import Tensor, nn

import pipeline.features.featurizer as featurizer_module
from cache.errors import InputError, ParamsError
from pipeline.config.params import read_params
from pipeline.config.shared.featurize import FeaturizeConfig
from pipeline.features import engines, tune
from pipeline.features.engines import CACHED_PIXELS, Placement, make_engine
from pipeline.features.featurizer import Featurizer

ROOT = Path(__file__).resolve().parents[3]
CPU = torch.device("cpu")
ROUNDINGS = 16


def make_config(*overrides: str) -> FeaturizeConfig:
    config = read_params(ROOT / "params.yaml", [f"featurize.{override}" for override in overrides]).featurize
    assert isinstance(config, FeaturizeConfig)
    return config


@pytest.mark.parametrize(
    ("backbone", "size"),
    [("efficientnet-mini", 64), ("efficientnet-b0", 96), ("timm:tf_efficientnetv2_b0", 64), ("timm:resnet18", 64)],
)
def test_onnx_and_eager_torch_give_the_features_of_float64(backbone: str, size: int) -> None:
    network = Featurizer(make_config(f"backbone={backbone}", "weights=random", f"size={size}")).backbone.network
    images = torch.randn(3, 3, size, size, generator=torch.Generator().manual_seed(0))
    exact = exact_features(network, images)
    bound = rounding_bound(network, images)
    engines = [make_engine(name, network, Placement(CPU, size, False)) for name in ("eager", "onnx")]
    eager, onnx = (engine(images) for engine in engines)
    assert relative_error(eager, exact) < bound
    assert relative_error(onnx, exact) < bound
    assert not torch.equal(eager, onnx)  # or one engine would be compared with itself
    half = make_engine("eager", network, Placement(CPU, size, True))(images)
    assert relative_error(half, exact) > bound  # a lost digit would be seen


def test_onnx_gives_the_same_bits_in_blocks_of_any_size(monkeypatch: pytest.MonkeyPatch) -> None:
    network = Featurizer(make_config("weights=random")).backbone.network
    images = torch.rand(16, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    outputs = []
    for block in (1, 3, 16):
        monkeypatch.setattr("pipeline.features.engines.CACHED_PIXELS", block * 64**2)
        outputs.append(make_engine("onnx", network, Placement(CPU, 64, False))(images))
    assert torch.equal(outputs[0], outputs[1]) and torch.equal(outputs[0], outputs[2])
    assert CACHED_PIXELS // 64**2 == 16


def test_auto_is_onnx_if_that_is_possible_and_says_so_in_the_key() -> None:
    auto, onnx = (
        Featurizer(make_config(f"engine={name}", "device=cpu", "weights=random")) for name in ("auto", "onnx")
    )
    assert auto.recipe == onnx.recipe and auto.recipe["engine"] == "onnx" and "onnxruntime" in auto.recipe["libraries"]
    assert Featurizer(make_config("device=cpu", "precision=bfloat16", "weights=random")).engine == "eager"


@pytest.mark.parametrize("other", ["precision=bfloat16", "device=cuda"])
def test_onnx_refuses_what_it_cannot_do(other: str) -> None:
    with pytest.raises(ParamsError, match=r"float32 on the CPU.*auto, eager or compile"):
        make_config("engine=onnx", other)


def test_onnx_on_a_gpu_that_auto_found_is_refused_in_a_line() -> None:
    with pytest.raises(ParamsError, match=r"onnx computes on the CPU.*found cuda.*featurize\.device to cpu"):
        make_engine("onnx", nn.Flatten(), Placement(torch.device("cuda"), 8, False))


class Fickle(nn.Module):
    """Decides by its input, so what is traced is one way only."""

    def forward(self, images: Tensor) -> Tensor:
        features = images.mean(dim=(2, 3))
        return features if len(images) == 2 else -features


class Unheard(nn.Module):
    """Uses what ONNX does not have."""

    def forward(self, images: Tensor) -> Tensor:
        return torch.linalg.eigvals(images[:, 0]).real


@pytest.mark.parametrize(("network", "what"), [(Fickle(), "changes in ONNX"), (Unheard(), "cannot be exported")])
def test_networks_that_cannot_be_traced_are_refused_in_one_line(
    network: nn.Module, what: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(InputError, match=rf"({what}).*Set featurize\.engine"):
        make_engine("onnx", network, Placement(CPU, 8, False))
    assert capfd.readouterr() == ("", "")


def test_tuning_measures_every_engine_and_names_the_fastest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tune, "SECONDS", 0.0)
    monkeypatch.setattr(tune, "CANDIDATES", (("eager", "float32"), ("onnx", "float32"), ("eager", "bfloat16")))
    lines = list(tune.tune_lines(make_config("size=32", "device=cpu", "weights=random")))
    assert [line.split()[:2] for line in lines[1:4]] == [
        ["eager", "float32"],
        ["onnx", "float32"],
        ["eager", "bfloat16"],
    ]
    assert lines[1].endswith("1.000000") and lines[-1].startswith("fastest here: --set featurize.engine=")


def test_tuning_without_a_compiler_skips_compile_in_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tune, "SECONDS", 0.0)
    monkeypatch.setattr(engines.shutil, "which", lambda name: None)
    lines = list(tune.tune_lines(make_config("size=32", "device=cpu", "weights=random")))
    skipped = [line for line in lines if "skipped" in line]
    assert len(skipped) == 2 and all(line.startswith("compile") and "C++ compiler" in line for line in skipped)
    assert lines[-1].startswith("fastest here: ") and "compile" not in lines[-1]


@pytest.fixture
def failing_export(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Networks cannot be exported; what was decided before, and is after, is forgotten."""

    def fail(*arguments: object, **named: object) -> None:
        raise RuntimeError("Unsupported: aten::something\nmore")

    monkeypatch.setattr(torch.onnx, "export", fail)
    forget()
    yield
    forget()


def forget() -> None:
    featurizer_module._network.cache_clear()
    featurizer_module._choose_engine.cache_clear()


@pytest.mark.usefixtures("failing_export")
def test_auto_falls_back_to_eager_says_why_and_remembers(store: Path) -> None:
    config = make_config("device=cpu", "weights=random")
    auto = Featurizer(config)
    assert auto.engine == "eager" and "aten::something" in auto.choice.reason and "\n" not in auto.choice.reason
    assert auto.recipe == Featurizer(make_config("device=cpu", "weights=random", "engine=eager")).recipe
    images = np.zeros((2, 8, 8, 3), np.uint8)
    assert auto(images, np.zeros(2, "S64")).shape[0] == 2
    assert len(list((store / "engines").glob("*.json"))) == 1
    forget()
    assert Featurizer(config).engine == "eager"
    with pytest.raises(InputError, match="cannot be exported to ONNX"):
        Featurizer(make_config("device=cpu", "weights=random", "engine=onnx"))(images, np.zeros(2, "S64"))


@pytest.mark.usefixtures("failing_export")
def test_the_decision_outlives_the_process_and_a_broken_record_is_made_again(store: Path) -> None:
    config = make_config("device=cpu", "weights=random")
    assert Featurizer(config).engine == "eager"
    (record,) = (store / "engines").glob("*.json")
    forget()
    record.write_text('{"engine": "onnx", "reason": ""}')
    assert Featurizer(config).engine == "onnx"  # what was decided holds
    forget()
    record.write_text("{")
    assert Featurizer(config).engine == "eager"


def test_weights_that_cannot_be_read_are_no_reason_for_another_engine(tmp_path: Path) -> None:
    (tmp_path / "broken.pth").write_bytes(b"no weights")
    config = make_config(f"weights={tmp_path / 'broken.pth'}", "preprocessing=imagenet", "device=cpu")
    with pytest.raises(InputError, match="cannot be read"):
        _ = Featurizer(config).engine
