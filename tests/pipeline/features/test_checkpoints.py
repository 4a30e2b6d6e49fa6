"""Checkpoints as trainers write them load into the backbone that they hold, or say in one line what to do."""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from torch import Tensor

from cache.errors import InputError
from pipeline.features.backbone import make_backbone
from pipeline.features.checkpoints import read_weights, without_prefix

NAME = "test_resnet"  # timm's own small networks for tests
SIZE = 64


@pytest.fixture(scope="module")
def tensors() -> dict[str, Tensor]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return dict(timm.create_model(NAME, pretrained=False).state_dict())


def other(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor + 1 for name, tensor in tensors.items()}


def prefixed(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {f"{prefix}{name}": tensor for name, tensor in tensors.items()}


WRAPPINGS: dict[str, Any] = {
    "state_dict": lambda state: {"state_dict": state, "epoch": 3},
    "model": lambda state: {"model": state, "optimizer": {"state": {}, "param_groups": []}},
    "model_state_dict": lambda state: {"model_state_dict": state, "loss": 0.5},
    "data parallel": lambda state: {"state_dict": prefixed(state, "module.")},
    "compiled": lambda state: prefixed(state, "_orig_mod."),
    "compiled data parallel": lambda state: {"model": prefixed(state, "module._orig_mod.")},
    "lightning model": lambda state: {"state_dict": {**prefixed(state, "model."), "criterion.weight": torch.ones(3)}},
    "lightning backbone": lambda state: {"state_dict": prefixed(state, "backbone.")},
    "lightning net": lambda state: {"state_dict": prefixed(state, "net."), "hyper_parameters": {"lr": 0.1}},
    "sequential": lambda state: prefixed(state, "0."),
    "timm ema": lambda state: {"state_dict": other(state), "state_dict_ema": state},
    "model ema": lambda state: {"model": other(state), "model_ema": state},
    "nested ema": lambda state: {"model": other(state), "ema": {"module": state, "updates": 7}},
    "ema beside": lambda state: {"state_dict": {**prefixed(other(state), "model."), **prefixed(state, "model_ema.")}},
    "teacher": lambda state: {"student": prefixed(other(state), "backbone."), "teacher": prefixed(state, "backbone.")},
    "arguments": lambda state: {"state_dict": state, "args": argparse.Namespace(lr=0.1), "metric": np.float64(0.5)},
}


@pytest.mark.parametrize("wrapping", WRAPPINGS)
def test_a_wrapped_checkpoint_gives_the_tensors_of_the_plain_one(
    tensors: dict[str, Tensor], tmp_path: Path, wrapping: str
) -> None:
    plain = tmp_path / "plain.pth"
    torch.save(tensors, plain)
    wrapped = tmp_path / "wrapped.pth"
    torch.save(WRAPPINGS[wrapping](tensors), wrapped)
    expected = make_backbone(f"timm:{NAME}", str(plain), SIZE, "imagenet").weights_sha256
    assert make_backbone(f"timm:{NAME}", str(wrapped), SIZE, "imagenet").weights_sha256 == expected


@pytest.mark.parametrize(
    "name", ["levit_128s", "repvit_m0_9", "deit_tiny_distilled_patch16_224", "test_vit", "test_efficientnet"]
)
def test_heads_are_left_out_distilled_ones_too(tmp_path: Path, name: str) -> None:
    whole = timm.create_model(name, pretrained=False).state_dict()
    torch.save({"model": whole}, tmp_path / "whole.pth")
    size = timm.get_pretrained_cfg(name).input_size[-1]
    tensors = make_backbone(f"timm:{name}", str(tmp_path / "whole.pth"), size, "imagenet").tensors
    assert all(torch.equal(tensor, whole[key]) for key, tensor in tensors.items())
    assert len(tensors) < len(whole)


def test_a_vision_transformer_s_file_fits_another_image_size(tmp_path: Path) -> None:
    whole = timm.create_model("test_vit", pretrained=False).state_dict()
    torch.save(whole, tmp_path / "vit.pth")
    tensors = make_backbone("timm:test_vit", str(tmp_path / "vit.pth"), 96, "imagenet").tensors
    assert tensors["pos_embed"].shape[1] < whole["pos_embed"].shape[1]
    assert torch.equal(tensors["blocks.0.attn.qkv.weight"], whole["blocks.0.attn.qkv.weight"])


def test_two_networks_that_fit_are_refused(tensors: dict[str, Tensor], tmp_path: Path) -> None:
    path = tmp_path / "moco.pth"
    torch.save({"state_dict": {**prefixed(tensors, "encoder_q."), **prefixed(tensors, "encoder_k.")}}, path)
    with pytest.raises(InputError, match=r"several networks that fit.*'encoder_k\.', 'encoder_q\.'.*torch\.save"):
        without_prefix(read_weights(path), list(tensors), path)


def test_another_network_s_checkpoint_is_refused(tensors: dict[str, Tensor], tmp_path: Path) -> None:
    torch.save({"state_dict": tensors}, tmp_path / "resnet.pth")
    with pytest.raises(InputError, match="weights do not fit the backbone"):
        make_backbone("timm:test_efficientnet", str(tmp_path / "resnet.pth"), SIZE, "imagenet")


class Unknown:
    """What a trainer pickles beside its weights."""


def test_a_pickled_object_is_refused_with_the_remedy(tensors: dict[str, Tensor], tmp_path: Path) -> None:
    torch.save({"state_dict": tensors, "trainer": Unknown()}, tmp_path / "trainer.pth")
    with pytest.raises(InputError, match=r"cannot be read.*torch\.save\(model\.state_dict\(\), PATH\)") as caught:
        read_weights(tmp_path / "trainer.pth")
    assert "\n" not in str(caught.value)


def test_the_keys_of_a_file_without_weights_are_named(tmp_path: Path) -> None:
    torch.save({"optimizer": {}, "epoch": 3}, tmp_path / "other.pth")
    with pytest.raises(InputError, match=r"state_dict_ema.*found the keys optimizer, epoch"):
        read_weights(tmp_path / "other.pth")
