"""timm by name, any name: it works, or one line says why not and what to do."""

import pytest
import timm
import torch

from cache.errors import ParamsError
from pipeline.config.shared.timm_names import current_name, input_size
from pipeline.features.backbone import make_backbone
from pipeline.features.timm_models import make_timm

DEPRECATED = {
    "tf_efficientnet_b0_ap": "tf_efficientnet_b0.ap_in1k",
    "tf_efficientnet_b0_ns": "tf_efficientnet_b0.ns_jft_in1k",
    "vit_tiny_patch16_224_in21k": "vit_tiny_patch16_224.augreg_in21k",
}


@pytest.mark.parametrize(("old", "new"), DEPRECATED.items())
def test_a_deprecated_name_is_today_s(old: str, new: str) -> None:
    assert current_name(old) == new and current_name(new) == new


def test_a_deprecated_name_has_the_key_of_today_s() -> None:
    old = make_backbone("timm:tf_efficientnet_b0_ap", "random", 32)
    new = make_backbone("timm:tf_efficientnet_b0.ap_in1k", "random", 32)
    assert (old.name, old.weights_sha256, old.mean) == (new.name, new.weights_sha256, (0.5, 0.5, 0.5))


def test_every_deprecated_name_of_timm_is_known() -> None:
    """A few of timm's translations lead to tags that it has renamed since: those are one line."""
    from timm.models import get_arch_pretrained_cfgs, get_deprecated_models

    stale = []
    for old, new in get_deprecated_models().items():
        if "." not in new or new in get_arch_pretrained_cfgs(new.partition(".")[0]):
            assert current_name(old) == new
        else:
            stale.append(old)
            with pytest.raises(ParamsError, match="timm has no weights"):
                current_name(old)
    assert len(stale) < 10


def test_an_unknown_tag_lists_the_known_ones() -> None:
    with pytest.raises(ParamsError, match=r"no weights foo of resnet18; expected one of a1_in1k.*found foo"):
        current_name("resnet18.foo")
    with pytest.raises(ParamsError, match=r"no weights of this name|no weights foo of test_byobnet|expected"):
        current_name("test_byobnet.foo")


@pytest.mark.parametrize("name", ["resnet_18", "", "hf-hub:timm/resnet18", "tf_efficientnet_b0_ap.foo", "../resnet18"])
def test_an_unknown_model_is_one_line(name: str) -> None:
    with pytest.raises(ParamsError, match="no such model") as caught:
        current_name(name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["inception_v3", "efficientformer_l1", "crossvit_tiny_240"])
def test_a_size_that_a_network_cannot_take_is_one_line_with_its_own(name: str) -> None:
    with pytest.raises(ParamsError, match=rf"expected {input_size(name)}, found 40.*featurize\.size to auto") as caught:
        make_timm(name, 40, 0)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("name", "size"), [("vit_tiny_patch16_224", 32), ("test_vit", 64)])
def test_a_vision_transformer_takes_another_size(name: str, size: int) -> None:
    network = make_timm(name, size, 0)
    with torch.inference_mode():
        assert network(torch.zeros(2, 3, size, size)).shape == (2, network.num_features)


def test_dinov2_takes_224_pixels_instead_of_518() -> None:
    assert input_size("vit_small_patch14_dinov2") == 518
    assert make_timm("vit_small_patch14_dinov2", 28, 0).patch_embed.img_size == (28, 28)


def test_the_native_size_gives_the_network_that_timm_gives() -> None:
    """Keys of rows that are cached already must not change."""
    network = make_timm("test_vit", 160, 0)
    assert set(network.state_dict()) == set(timm.create_model("test_vit", num_classes=0).state_dict())
