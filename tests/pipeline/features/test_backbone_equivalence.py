"""The same weights give the same features and logits in efficientnet-pytorch and in timm, from b0 to b8.

The official AdvProp files and timm's `tf_efficientnet_b*.ap_in1k` are one set of weights under two names. They cannot
be fetched here, so one random network, its batch statistics random too, is moved across instead.
"""

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from efficientnet_pytorch import EfficientNet
from safetensors.torch import save_file
from torch import Tensor, nn

from pipeline.features.backbone import PooledEfficientNet, make_backbone

TOLERANCE = 1e-9  # both in float64: what is left of its epsilon, 2e-16, through 80 layers
# At their own size b4 to b8 would take minutes; odd sizes are where two kinds of "same" padding would part.
CASES = [
    *[(0, 224), (0, 65), (1, 64), (2, 65), (3, 64)],
    *[pytest.param(*case, marks=pytest.mark.long) for case in ((4, 48), (5, 33), (6, 32), (7, 33), (8, 32))],
]

OUTER = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
SQUEEZE = {"_se_reduce": "se.conv_reduce", "_se_expand": "se.conv_expand"}
SEPARABLE = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", **SQUEEZE, "_project_conv": "conv_pw", "_bn2": "bn2"}
INVERTED = {"_expand_conv": "conv_pw", "_bn0": "bn1", "_depthwise_conv": "conv_dw", "_bn1": "bn2"}
INVERTED |= {**SQUEEZE, "_project_conv": "conv_pwl", "_bn2": "bn3"}


@pytest.mark.parametrize(("scale", "size"), CASES)
def test_both_architectures_are_one_function(scale: int, size: int) -> None:
    published, other = (network.double() for network in make_pair(scale, size))
    images = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(scale)).double()
    with torch.inference_mode():
        logits = published(images)
        other_logits = other(images)  # as published, with its own form of swish
        features = PooledEfficientNet(published)(images)
        others = pooled(other, images)
    assert 0.1 < features.std() < 10 and 0.1 < logits.std() < 10  # or agreement would mean nothing
    assert (features[0] - features[1]).abs().max() > 0.01
    assert (features - others).abs().max() < TOLERANCE
    assert (logits - other_logits).abs().max() < TOLERANCE


def test_both_names_give_the_same_backbone_from_files(tmp_path: Path) -> None:
    published, other = make_pair(0, 64)
    ours = tmp_path / "adv-efficientnet-b0-00000000.pth"
    theirs = tmp_path / "b0.ap_in1k.safetensors"
    torch.save(published.state_dict(), ours)
    save_file(other.state_dict(), theirs)
    first = make_backbone("efficientnet-b0", str(ours), 64)
    second = make_backbone("timm:tf_efficientnet_b0.ap_in1k", str(theirs), 64)
    assert (first.mean, first.std) == (second.mean, second.std) == ((0.5,) * 3, (0.5,) * 3)
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1)).double()
    with torch.inference_mode():
        difference = first.network.double()(images) - second.network.double()(images)
    assert difference.abs().max() < TOLERANCE


def test_comparison_sees_a_single_misplaced_tensor() -> None:
    published, other = (network.double() for network in make_pair(0, 64))
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1)).double()
    statistics = other.get_submodule("blocks.3.1.bn2")
    statistics.running_mean.copy_(statistics.running_mean.roll(1))
    with torch.inference_mode():
        assert (published(images) - other(images)).abs().max() > TOLERANCE


pytestmark = pytest.mark.usefixtures("one_thread")


def make_pair(scale: int, size: int) -> tuple[Any, Any]:
    """efficientnet-pytorch's network and timm's, in evaluation mode, with the same random weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(scale)
        published = EfficientNet.from_name(f"efficientnet-b{scale}", image_size=size, num_classes=1000)
        randomise(published, size)
    with torch.device("meta"):
        other = timm.create_model(f"tf_efficientnet_b{scale}.ap_in1k", pretrained=False)
    tensors = {name: tensor.clone() for name, tensor in published.state_dict().items()}
    other.load_state_dict(moved(tensors, [len(stage) for stage in other.blocks]), strict=True, assign=True)
    return published.eval(), other.eval()


def randomise(network: nn.Module, size: int) -> None:
    """Random scales, shifts and batch statistics, such that signals neither fade nor burst on their way."""
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    with torch.no_grad():
        for norm in norms:
            norm.momentum = 1.0
            norm.weight.uniform_(0.5, 1.5)
            norm.bias.normal_(0, 0.3)
        network.train()(torch.randn(8, 3, size, size))
        for norm in norms:
            norm.running_var.clamp_(min=0.5 * norm.running_var.mean())  # few pixels: some channels hardly vary
            norm.running_mean += 0.1 * norm.running_var.sqrt() * torch.randn_like(norm.running_mean)
            norm.running_var *= torch.empty_like(norm.running_var).uniform_(0.8, 1.25)


def moved(tensors: dict[str, Tensor], depths: list[int]) -> dict[str, Tensor]:
    """efficientnet-pytorch's tensors under timm's names; `depths` is the number of blocks in each stage."""
    places = [(stage, index) for stage, depth in enumerate(depths) for index in range(depth)]
    renamed = {}
    for name, tensor in tensors.items():
        parts = name.split(".")
        if parts[0] == "_blocks":
            stage, index = places[int(parts[1])]
            inner = (SEPARABLE if stage == 0 else INVERTED)[parts[2]]
            renamed[f"blocks.{stage}.{index}.{inner}.{parts[3]}"] = tensor
        else:
            renamed[f"{OUTER[parts[0]]}.{parts[1]}"] = tensor
    return renamed


def pooled(network: Any, images: Tensor) -> Tensor:
    """timm's features [k, d] before its classifier."""
    features: Tensor = network.forward_head(network.forward_features(images), pre_logits=True)
    return features
