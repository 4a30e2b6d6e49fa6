"""Every network has the parameters and shapes of its source, and computes what an independent implementation does."""

from functools import partial
from typing import Any

import pytest
import torch
from timm.layers import create_conv2d
from timm.layers.cbam import CbamModule
from timm.layers.norm_act import BatchNormAct2d
from timm.models.resnetv2 import DownsampleConv, PreActBasic
from torch import Tensor, nn
from torch.nn import functional
from torchvision import models

from cache.errors import ParamsError
from pipeline.config.recipe import read_recipe
from pipeline.config.shared.networks import NetworkConfig, network_of
from pipeline.networks.blocks import ACTIVATIONS, ATTENTION, NORMS, Cbam, PreActivationBlock, SpatialPyramid, Swish
from pipeline.networks.factory import count_parameters, make_network

V2_20 = {"name": "resnetv2", "widths": [16, 32, 64], "blocks": 3}
V2_PROP = {"name": "resnetv2", "widths": [64, 128, 256, 512], "blocks": 2}
WIDE = {"name": "wide_resnet", "depth": 28, "width": 10, "se": False, "dropout": 0.0}
REPORT_003 = {
    "name": "attention_resnet",
    "widths": [30, 60, 120, 240],
    "blocks": [2, 2, 5, 3],
    "attention": "none",
    "heads": 4,
    "feedforward": 960,
    "dropout": 0.05,
}
SMALL_003 = REPORT_003 | {"widths": [32, 64], "blocks": [1, 2], "feedforward": 16, "dropout": 0.0}
RESNET50 = {"name": "resnet50", "activation": "relu", "norm": "batch", "spp": False, "stem": "imagenet"}


def make(values: dict[str, Any], classes: int = 10, limit: int | None = None, seed: int = 0) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return make_network(network_of(values), classes, limit)


def imagined(config: NetworkConfig | dict[str, Any], limit: int | None = None) -> nn.Module:
    """Without numbers: shapes cost no time."""
    with torch.device("meta"):
        return make_network(network_of(config) if isinstance(config, dict) else config, 10, limit)


def shapes(network: nn.Module, kind: type[nn.Module], size: int) -> list[tuple[int, ...]]:
    """[c, h, w] of what each module of a kind gives, in the order of their work, for one image of this side."""
    sides: list[tuple[int, ...]] = []
    for module in network.modules():
        if isinstance(module, kind):
            module.register_forward_hook(lambda _module, _inputs, output: sides.append(tuple(output.shape[1:])))
    network(torch.zeros(2, 3, size, size, device="meta"))
    return sides


def randomised(module: nn.Module) -> nn.Module:
    """In evaluation mode with norms that do something."""
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            for tensor in (part.weight, part.bias, part.running_mean, part.running_var):
                assert tensor is not None
                tensor.data.uniform_(0.2, 1.2)
    return module.eval()


def move(target: nn.Module, source: nn.Module, names: dict[str, str]) -> nn.Module:
    """Weights from one module to another whose submodules are named differently; every one of them is moved."""
    renamed = {}
    for key, tensor in source.state_dict().items():
        name, _, leaf = key.rpartition(".")
        renamed[f"{names.get(name, name)}.{leaf}"] = tensor
    target.load_state_dict(renamed)
    return target.eval()


@pytest.mark.parametrize(
    ("values", "count"),
    [
        (V2_20, 272_154),
        (V2_PROP, 11_171_146),
        (WIDE, 36_479_194),
        (REPORT_003, 4_969_600),
        (RESNET50, 23_528_522),
        # a pyramid over c channels has c * c/2 + c/2 + 2c * c + c = 2.5 c^2 + 1.5 c; here c = 256, 512 and 1024
        (RESNET50 | {"spp": True}, 23_528_522 + 164_224 + 656_128 + 2_622_976),
        (RESNET50 | {"activation": "swish_trainable"}, 23_528_522 + 17),  # 16 bottlenecks and the stem
        (RESNET50 | {"norm": "layer"}, 23_528_522),
    ],
)
def test_parameters_are_as_many_as_the_source_or_a_calculation_by_hand_says(values: Any, count: int) -> None:
    assert count_parameters(imagined(values)) == count


def test_a_network_beyond_its_limit_is_refused_and_report_003_s_recipe_is_within() -> None:
    with pytest.raises(
        ParamsError, match=r"attention_resnet: .* at most 5,000,000 \(parameter_limit\), found 5,001,640"
    ):
        imagined(REPORT_003 | {"attention": "cbam"}, 5_000_000)
    recipe = read_recipe("003-cbam", {})
    assert count_parameters(imagined(recipe.network, recipe.parameter_limit)) < 5_000_000 == recipe.parameter_limit


@pytest.mark.parametrize(
    ("values", "stacks"),
    [
        (V2_20, [(16, 32, 32)] * 3 + [(32, 16, 16)] * 3 + [(64, 8, 8)] * 3),
        (V2_PROP, [(64, 32, 32)] * 2 + [(128, 16, 16)] * 2 + [(256, 8, 8)] * 2 + [(512, 4, 4)] * 2),
        (WIDE, [(160, 32, 32)] * 4 + [(320, 16, 16)] * 4 + [(640, 8, 8)] * 4),
        (REPORT_003, [(30, 32, 32)] * 2 + [(60, 16, 16)] * 2 + [(120, 8, 8)] * 5 + [(240, 4, 4)] * 3),
    ],
)
def test_every_stack_but_the_first_halves_the_map(values: Any, stacks: list[tuple[int, ...]]) -> None:
    assert shapes(imagined(values), PreActivationBlock, 32) == stacks


def test_resnet50_has_pyramids_after_bottlenecks_3_7_and_13() -> None:
    sides = shapes(imagined(RESNET50 | {"spp": True}), SpatialPyramid, 64)
    assert sides == [(256, 16, 16), (512, 8, 8), (1024, 4, 4)]
    blocks = [type(part).__name__ for part in imagined(RESNET50 | {"spp": True}).layer3]
    assert blocks == ["Bottleneck"] * 6 + ["SpatialPyramid"]


def test_resnet50_is_torchvision_s() -> None:
    network = make(RESNET50).eval()
    reference = models.resnet50(num_classes=10)
    reference.load_state_dict(network.state_dict())
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        assert torch.equal(network(images), reference.eval()(images))


def test_activation_and_norm_of_resnet50_are_the_chosen_ones_everywhere() -> None:
    network = imagined(RESNET50 | {"activation": "gelu", "norm": "layer"})
    kinds = {type(module) for module in network.modules()}
    assert nn.GELU in kinds and not kinds & {nn.ReLU, nn.BatchNorm2d}
    channels = torch.rand(2, 6, 4, 4) * 9
    expected = functional.layer_norm(channels.movedim(1, -1), (6,), eps=1e-6).movedim(-1, 1)
    torch.testing.assert_close(NORMS["layer"](6)(channels), expected)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("relu", lambda x: x.clamp(min=0)),
        ("mish", lambda x: x * torch.tanh(torch.log1p(x.exp()))),
        ("gelu", lambda x: x * (1 + torch.erf(x / 2**0.5)) / 2),
        ("swish", lambda x: x * torch.sigmoid(x)),
        ("swish_trainable", lambda x: x * torch.sigmoid(x)),
    ],
)
def test_activations_are_their_formulas(name: str, expected: Any) -> None:
    x = torch.linspace(-4, 4, 33)
    torch.testing.assert_close(ACTIVATIONS[name]()(x.clone()), expected(x))


def test_swish_learns_its_beta() -> None:
    swish = Swish()
    x = torch.linspace(-4, 4, 32)
    swish(x).sum().backward()
    share = torch.sigmoid(x)
    torch.testing.assert_close(swish.beta.grad, (x**2 * share * (1 - share)).sum())


def test_cbam_is_timm_s() -> None:
    own = Cbam(32)
    reference = CbamModule(32).eval()
    randomised(own)
    names = {
        "squeeze": "channel.fc1",
        "excite": "channel.fc2",
        "place": "spatial.conv.conv",
        "norm": "spatial.conv.bn",
    }
    move(reference, own, names)
    x = torch.randn(2, 32, 9, 9, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        torch.testing.assert_close(own(x), reference(x))


@pytest.mark.parametrize(("inputs", "stride"), [(8, 1), (4, 1), (8, 2), (4, 2)])
def test_a_pre_activated_block_is_timm_s(inputs: int, stride: int) -> None:
    own = randomised(PreActivationBlock(inputs, 8, stride, "relu", 0.0, "none"))
    same = inputs == 8 and stride == 1
    reference = PreActBasic(
        inputs,
        8,
        stride=stride,
        conv_layer=create_conv2d,
        norm_layer=partial(BatchNormAct2d, act_layer=nn.ReLU),
        proj_layer=None if same else DownsampleConv,
    )
    move(reference, own, {"shortcut": "downsample.conv"})
    x = torch.randn(2, inputs, 8, 8, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        torch.testing.assert_close(own(x), reference(x))


def test_a_block_s_attention_scales_what_is_added_and_not_the_shortcut() -> None:
    x = torch.randn(2, 32, 8, 8, generator=torch.Generator().manual_seed(1))
    for attention in ("se", "cbam"):
        block = randomised(PreActivationBlock(32, 32, 1, "mish", 0.0, attention))
        plain = PreActivationBlock(32, 32, 1, "mish", 0.0, "none")
        plain.load_state_dict(block.state_dict(), strict=False)
        with torch.inference_mode():
            torch.testing.assert_close(block(x), x + block.attention(plain.eval()(x) - x))


def test_attention_narrows_sixteenfold() -> None:
    excitation: Any = ATTENTION["se"](48)
    assert excitation.fc1.weight.shape == (3, 48, 1, 1) == Cbam(48).squeeze.weight.shape
    assert Cbam(8).squeeze.weight.shape == (1, 8, 1, 1)


def test_a_spatial_pyramid_is_three_pools_one_after_another() -> None:
    pyramid = SpatialPyramid(6)
    x = torch.randn(2, 6, 9, 9, generator=torch.Generator().manual_seed(1))
    first = functional.conv2d(x, pyramid.narrow.weight, pyramid.narrow.bias)
    wider = [functional.max_pool2d(first, side, stride=1, padding=side // 2) for side in (5, 9, 13)]
    expected = functional.conv2d(torch.cat([first, *wider], 1), pyramid.widen.weight, pyramid.widen.bias)
    torch.testing.assert_close(pyramid(x), expected)


def test_the_transformer_block_is_attention_over_places_and_can_be_left_out() -> None:
    network: Any = make(SMALL_003).eval().double()
    layer = network.transformer.layer
    x = torch.randn(2, 64, 3, 5, generator=torch.Generator().manual_seed(1)).double()
    places = x.permute(0, 2, 3, 1).reshape(2, 15, 64)
    normed = layer.norm1(places)
    heads = [
        projected.view(2, 15, 4, 16).transpose(1, 2)
        for projected in functional.linear(normed, layer.self_attn.in_proj_weight, layer.self_attn.in_proj_bias).chunk(
            3, -1
        )
    ]
    attended = functional.scaled_dot_product_attention(*heads).transpose(1, 2).reshape(2, 15, 64)
    places = places + layer.self_attn.out_proj(attended)
    places = places + layer.linear2(functional.gelu(layer.linear1(layer.norm2(places))))
    with torch.inference_mode():
        expected = places.reshape(2, 3, 5, 64).permute(0, 3, 1, 2)
        torch.testing.assert_close(network.transformer(x), expected)
    assert isinstance(imagined(SMALL_003 | {"heads": 0}).transformer, nn.Identity)


@pytest.mark.parametrize(
    "model", ["torchvision:resnet18", "torchvision:densenet121", "timm:seresnet18", "torchvision:resnext50_32x4d"]
)
def test_a_small_stem_keeps_the_map_four_times_as_large(model: str) -> None:
    values = {"name": "library", "model": model, "stem": "imagenet"}
    large = imagined(values)
    small = imagined(values | {"stem": "small"})
    assert shapes(large, nn.BatchNorm2d, 32)[-1][1:] == (1, 1)
    first, *_, last = shapes(small, nn.BatchNorm2d, 32)
    assert first[1:] == (32, 32) and last[1:] == (4, 4)
    assert not any(isinstance(module, nn.MaxPool2d) for module in small.modules())


def test_a_small_stem_leaves_the_pools_of_pyramids_in_place() -> None:
    network = imagined(RESNET50 | {"spp": True, "stem": "small"})
    assert isinstance(network.maxpool, nn.Identity)
    assert shapes(network, SpatialPyramid, 32) == [(256, 32, 32), (512, 16, 16), (1024, 8, 8)]


@pytest.mark.parametrize("model", ["torchvision:resnet81", "timm:resnet81"])
def test_an_unknown_library_network_is_refused_with_near_names(model: str) -> None:
    with pytest.raises(ParamsError, match=f"such as .*:resnet18.*, found '{model}'") as error:
        imagined({"name": "library", "model": model, "stem": "small"})
    assert len(str(error.value)) < 300


@pytest.mark.parametrize(
    ("values", "says"),
    [
        (V2_20 | {"name": "resnetv3"}, "'resnet50', 'resnetv2', 'attention_resnet', 'wide_resnet', 'library'"),
        (WIDE | {"depth": 27}, "6n [+] 4"),
        (REPORT_003 | {"blocks": [2, 2, 5]}, "widths and blocks must be equally many"),
        (REPORT_003 | {"heads": 7}, "multiple of heads"),
        ({"name": "library", "model": "keras:resnet18", "stem": "small"}, "torchvision|timm"),
    ],
)
def test_a_network_that_cannot_be_is_refused(values: Any, says: str) -> None:
    with pytest.raises(ParamsError, match=says):
        network_of(values)


@pytest.mark.parametrize(
    "values",
    [
        RESNET50 | {"activation": "swish_trainable", "spp": True, "stem": "small"},
        RESNET50 | {"activation": "mish", "norm": "layer"},
        V2_20,
        WIDE | {"depth": 10, "width": 2, "se": True},
        SMALL_003 | {"attention": "cbam"},
        SMALL_003 | {"attention": "se", "heads": 0},
        {"name": "library", "model": "torchvision:resnet18", "stem": "small"},
        {"name": "library", "model": "timm:seresnet18", "stem": "small"},
    ],
    ids=lambda values: "-".join(str(values[key]) for key in list(values)[:3]),
)
def test_the_gradient_reaches_every_parameter(values: Any) -> None:
    network = make(values, classes=3)
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    functional.cross_entropy(network(images), torch.tensor([0, 2])).backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None and bool(parameter.grad.isfinite().all()), name


def test_the_same_seed_makes_the_same_network() -> None:
    first, again, other = (make(V2_20, seed=seed).state_dict()["classifier.weight"] for seed in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_convolutions_begin_as_he_et_al_have_it() -> None:
    weight: Tensor = make(V2_PROP).stacks[-1].conv2.weight  # type: ignore[index,union-attr,assignment]
    assert float(weight.detach().std()) == pytest.approx((2 / (512 * 9)) ** 0.5, rel=0.01)
