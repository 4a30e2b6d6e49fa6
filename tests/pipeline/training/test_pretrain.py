"""AdvProp: shared convolutions, norms apart, bit for bit the same after a kill, and better with training."""

from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from models import coloured
from torch import nn

from cache.errors import InputError, ParamsError
from cache.records import ImageSet
from pipeline.config.params import read_params
from pipeline.config.pretrain import PretrainConfig
from pipeline.features.backbone import make_backbone
from pipeline.networks.adversarial import Attack, perturb, sharing_weights
from pipeline.networks.efficientnet import make_efficientnet
from pipeline.runtime.progress import SILENT, Watch
from pipeline.training import trainer as module
from pipeline.training.fit import ModelFit, fit_model
from pipeline.training.pretrain import pretrain_recipe, pretrain_start, saved_backbone, saved_network

ROOT = Path(__file__).resolve().parents[3]
TINY = "efficientnet:0.25x0.2/1"


def make_config(*overrides: str) -> PretrainConfig:
    chosen = [f"backbone={TINY}", "sizes=[16, 24]", "epochs=2", "batch=8", "lr=0.01", "device=cpu", *overrides]
    return read_params(ROOT / "params.yaml", [f"pretrain.{override}" for override in chosen]).pretrain


def images(count: int, seed: int) -> ImageSet:
    return coloured(count, seed, size=24)


def pretrain(train: ImageSet, val: ImageSet | None, config: PretrainConfig, watch: Watch = SILENT) -> ModelFit:
    init = None if config.init is None else make_backbone(config.backbone, config.init, 24, "advprop")
    held_out = {} if val is None else {"unaugmented": val}
    start = pretrain_start(config, len(train.classes), init)
    return next(fit_model({"unaugmented": train}, held_out, pretrain_recipe(config), config, watch, start))


def bits(fit: ModelFit) -> bytes:
    """Of the network after the last step."""
    fit.network.load_state_dict(fit.last)
    return saved_network(fit.network)


def test_it_learns_and_says_how() -> None:
    trained = pretrain(images(50, 1), images(30, 2), make_config("epochs=12"))
    assert [curve["size"] for curve in trained.curves] == [16] * 6 + [24] * 6
    assert set(trained.curves[0]) >= {"epoch", "lr", "train_loss", "train_loss_attacked", "val_loss", "val_accuracy"}
    assert trained.curves[-1]["val_accuracy"] > 0.8
    assert trained.curves[-1]["train_loss"] < trained.curves[0]["train_loss"]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AUGCACHE_STORE", str(tmp_path_factory.mktemp("store")))
        return bits(pretrain(images(50, 1), images(30, 2), make_config()))


class Killed(Exception):
    """Stands for a kill between two steps."""


@pytest.mark.parametrize("kill", [1, 5, 6, 9])
def test_a_killed_training_ends_with_the_same_bits(undisturbed: bytes, kill: int) -> None:
    steps = iter(range(1000))

    def advance(count: int) -> None:
        if count == 7 and next(steps) == kill:  # 50 images in 7 steps
            raise Killed

    config = make_config("checkpoint_seconds=0")
    with pytest.raises(Killed):
        pretrain(images(50, 1), images(30, 2), config, Watch(advance))
    advanced: list[int] = []
    again = pretrain(images(50, 1), images(30, 2), config, Watch(advanced.append))
    assert bits(again) == undisturbed
    assert len(again.curves) == 2 and len(advanced) <= 15 - kill


@pytest.mark.parametrize(
    "change",
    [
        "seed=1",
        "attack_eps=3",
        "attack_steps=2",
        "attack_step=1",
        "min_crop=0.9",
        "lr=0.02",
        "weight_decay=0.5",
        "label_smoothing=0.3",
        "batch=6",
        "sizes=[16, 20]",
        "precision=bfloat16",
        "epochs=3",
    ],
)
def test_every_parameter_of_the_training_makes_another_one(undisturbed: bytes, change: str) -> None:
    assert bits(pretrain(images(50, 1), images(30, 2), make_config(change))) != undisturbed


def test_the_auxiliary_network_shares_all_but_its_norms() -> None:
    network = make_efficientnet(TINY, None, 3)
    twin = sharing_weights(network)
    norms = {name for name, part in network.named_modules() if isinstance(part, nn.BatchNorm2d)}
    for (name, own), (_, other) in zip(network.named_parameters(), twin.named_parameters(), strict=True):
        assert (own is other) == (name.rpartition(".")[0] not in norms), name
    twin.train()(torch.rand(4, 3, 16, 16))
    assert float(network._bn0.running_mean.abs().max()) == 0 < float(twin._bn0.running_mean.abs().max())


def test_plain_training_leaves_the_adversary_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr(module, "perturb", forbidden)
    trained = pretrain(images(24, 1), None, make_config("attack_steps=0", "epochs=1"))
    assert "train_loss_attacked" not in trained.curves[0]


def test_the_saved_backbone_loads_and_its_features_are_the_networks(tmp_path: Path) -> None:
    trained = pretrain(images(24, 1), None, make_config())
    (tmp_path / "own.safetensors").write_bytes(saved_backbone(trained.network))
    backbone = make_backbone(TINY, str(tmp_path / "own.safetensors"), 24, "advprop")
    rounded: Any = deepcopy(trained.network).half().double()  # as the file holds it
    inputs = torch.rand(4, 3, 24, 24, dtype=torch.float64) * 2 - 1
    with torch.inference_mode():
        expected = rounded.extract_features(inputs).mean(dim=(2, 3))
        torch.testing.assert_close(deepcopy(backbone.network).double()(inputs), expected)
    assert (tmp_path / "own.safetensors").stat().st_size < 2.2 * sum(p.numel() for p in backbone.network.parameters())


@pytest.mark.parametrize("name", [TINY, "timm:resnet10t"])
def test_any_backbone_is_tuned_from_its_own_weights_and_loads_again(name: str, tmp_path: Path) -> None:
    config = make_config(f"backbone={name}", "init=random", "lr=0.001", "epochs=1")
    before = make_backbone(name, "random", 24).network.state_dict()
    trained = pretrain(images(24, 1), None, config)
    (tmp_path / "tuned.safetensors").write_bytes(saved_backbone(trained.network))
    after = make_backbone(name, str(tmp_path / "tuned.safetensors"), 24, "imagenet").network.state_dict()
    moved = [key for key in before if not torch.equal(before[key].half().float(), after[key])]
    assert any("conv" in key for key in moved)
    assert all(float((before[key] - after[key]).abs().max()) < 0.1 for key in moved if key.endswith("weight"))


def test_an_attack_lowers_accuracy_to_nothing_as_it_grows() -> None:
    rows = images(60, 1)
    network = pretrain(rows, None, make_config("epochs=12")).network
    pixels = torch.from_numpy(rows.images[:]).permute(0, 3, 1, 2).float()
    labels = torch.from_numpy(rows.labels)

    def accuracy(eps: float) -> float:
        moved = perturb(lambda images: network(images / 127.5 - 1), pixels, labels, Attack(eps, eps / 4, 10))
        return float((network(moved / 127.5 - 1).argmax(dim=1) == labels).float().mean())

    accuracies = [accuracy(eps) for eps in (0, 20, 120)]
    assert accuracies == sorted(accuracies, reverse=True)
    assert accuracies[0] > 0.9 and accuracies[2] < 0.1


def test_a_loss_that_is_not_finite_is_refused() -> None:
    with pytest.raises(InputError, match="diverged"):
        pretrain(images(24, 1), None, make_config("lr=1e30"))


def test_one_image_is_too_few() -> None:
    with pytest.raises(InputError, match="two or more"):
        pretrain(images(3, 1).take(np.array([0])), None, make_config())


@pytest.mark.parametrize(
    "name", ["timm:resnet18", "efficientnet:0x1/2", "efficientnet:1x1/3", "efficientnet:1.1.1x1/2"]
)
def test_only_efficientnets_are_pretrained_from_random_weights(name: str) -> None:
    with pytest.raises(ParamsError, match="only efficientnet-pytorch"):
        make_config(f"backbone={name}")
