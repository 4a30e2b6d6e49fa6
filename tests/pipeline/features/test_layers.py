"""Features of inner layers: the last layer's unchanged, the others beside them, all from one forward pass."""

from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
import torch

from cache.errors import ParamsError
from pipeline.config.params import read_params
from pipeline.config.shared.featurize import FeaturizeConfig
from pipeline.features.backbone import make_backbone
from pipeline.features.engines import AGREEMENT
from pipeline.features.featurizer import Featurizer
from pipeline.features.layers import block_names

PARAMS = Path(__file__).resolve().parents[3] / "params.yaml"
MINI = "efficientnet-mini"
SIZE = 64
NETWORKS = [
    MINI,
    "efficientnet-lite0",
    "timm:test_resnet",
    "timm:test_efficientnet",
    "timm:test_vit",
    "timm:test_convnext",
    "timm:swin_tiny_patch4_window7_224",
]


def make_config(*overrides: str) -> FeaturizeConfig:
    chosen = [
        "backbone=efficientnet-mini",
        "weights=random",
        f"size={SIZE}",
        "batch=16",
        "dtype=float32",
        "device=cpu",
        *overrides,
    ]
    return read_params(PARAMS, [f"featurize.{override}" for override in chosen]).featurize


def images_of(count: int) -> torch.Tensor:
    return torch.rand(count, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(count))


@pytest.mark.parametrize("name", NETWORKS)
def test_last_comes_first_and_every_block_gives_average_and_maximum(name: str) -> None:
    last = make_backbone(name, "random", SIZE)
    everything = make_backbone(name, "random", SIZE, layers="all")
    assert last.groups == () and last.weights_sha256 == everything.weights_sha256
    with torch.inference_mode():
        expected = last.network(images_of(2))
        features = everything.network(images_of(2))
    names, widths = zip(*everything.groups, strict=True)
    assert names[0] == "last" and widths[0] == expected.shape[1] and sum(widths) == features.shape[1]
    assert torch.equal(features[:, : widths[0]], expected)
    assert len(names) > 3 and all(width % 2 == 0 for width in widths[1:])
    for group in features.split(widths, dim=1)[1:]:
        average, maximum = group.chunk(2, dim=1)
        assert (maximum >= average).all() and not torch.equal(average, maximum)


def test_every_block_of_an_efficientnet_is_a_group() -> None:
    groups = make_backbone(MINI, "random", SIZE, layers="all").groups
    assert len(groups) == 1 + 10
    assert sum(width for name, width in groups if name != "last") == 1184
    assert make_backbone("efficientnet-lite0", "random", SIZE, layers="all").groups[-1] == ("blocks.6.0", 640)


def test_a_block_s_group_is_what_its_output_pools_to() -> None:
    backbone = make_backbone(MINI, "random", SIZE, layers=("network._blocks.3", "last"))
    plain = make_backbone(MINI, "random", SIZE).network
    outputs: list[torch.Tensor] = []
    plain.get_submodule("network._blocks.3").register_forward_hook(lambda module, given, output: outputs.append(output))
    with torch.inference_mode():
        expected = plain(images_of(2))
        features = backbone.network(images_of(2))
    (output,) = outputs
    pooled = torch.cat([output.mean(dim=(2, 3)), output.amax(dim=(2, 3))], dim=1)
    assert torch.equal(features, torch.cat([pooled, expected], dim=1))
    assert backbone.groups == (("network._blocks.3", pooled.shape[1]), ("last", expected.shape[1]))


def test_threads_do_not_mix_their_images() -> None:
    network = make_backbone(MINI, "random", SIZE, layers="all").network
    with torch.inference_mode():
        expected = [network(images_of(count)) for count in range(1, 9)]
    with ThreadPoolExecutor(4) as threads:

        def run(count: int) -> torch.Tensor:
            with torch.inference_mode():
                return network(images_of(count))

        features = list(threads.map(run, range(1, 9)))
    assert all(torch.equal(own, other) for own, other in zip(features, expected, strict=True))


def test_a_copy_gives_its_own_features() -> None:
    """Evaluate, export and predict copy networks."""
    network = make_backbone(MINI, "random", SIZE, layers="all").network
    twin = deepcopy(network)
    with torch.inference_mode():
        expected = network(images_of(2))
        assert torch.equal(twin(images_of(2)), expected)
        for parameter in network.parameters():
            parameter.zero_()
        assert torch.equal(twin(images_of(2)), expected)


@pytest.mark.parametrize("name", [MINI, "timm:test_resnet", "timm:test_vit"])
def test_onnx_and_eager_give_the_same_groups(name: str) -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, SIZE, SIZE, 3), dtype=np.uint8)
    keys = np.zeros(3, dtype="S64")
    eager, onnx = (
        Featurizer(make_config(f"backbone={name}", "preprocessing=imagenet", "layers=all", f"engine={engine}"))
        for engine in ("eager", "onnx")
    )
    assert eager.recipe["groups"] == onnx.recipe["groups"]
    rows = eager(images, keys)
    others = onnx(images, keys)
    assert rows.shape == others.shape == (3, sum(width for _, width in eager.recipe["groups"]))
    cosine = (rows * others).sum(axis=1) / np.linalg.norm(rows, axis=1) / np.linalg.norm(others, axis=1)
    assert cosine.min() > AGREEMENT


def test_layers_have_a_key_of_their_own_and_last_has_the_old_one() -> None:
    last = Featurizer(make_config("engine=eager")).recipe
    everything = Featurizer(make_config("engine=eager", "layers=all")).recipe
    assert "groups" not in last and "source" not in last
    assert {**last, "groups": everything["groups"]} == everything
    assert everything["groups"][0][0] == "last" and all(isinstance(group, list) for group in everything["groups"])


@pytest.mark.parametrize("layers", ["[last, blocks.99]", "[last, last]", "[nothing]"])
def test_unknown_or_repeated_layers_list_the_right_ones(layers: str) -> None:
    with pytest.raises(ParamsError, match=r"featurize\.layers.*expected last, network\._blocks\.0") as caught:
        _ = Featurizer(make_config(f"layers={layers}")).backbone
    assert "\n" not in str(caught.value)


def test_compile_refuses_layers() -> None:
    with pytest.raises(ParamsError, match=r"compile cannot give.*auto, eager or onnx"):
        make_config("engine=compile", "layers=all")


def test_blocks_of_a_network_of_stages() -> None:
    network = make_backbone("timm:test_efficientnet", "random", SIZE).network
    depths = [len(blocks) for blocks in network.blocks]
    expected = [f"blocks.{stage}.{index}" for stage, depth in enumerate(depths) for index in range(depth)]
    assert list(block_names(network)) == expected


def test_an_export_leaves_the_network_in_evaluation_mode() -> None:
    featurizer = Featurizer(make_config("layers=all", "engine=onnx"))
    featurizer(np.zeros((1, SIZE, SIZE, 3), dtype=np.uint8), np.zeros(1, dtype="S64"))
    assert not any(module.training for module in featurizer.backbone.network.modules())
