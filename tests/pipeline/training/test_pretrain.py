"""AdvProp: shared convolutions, norms apart, bit for bit the same after a kill, and better with training."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from cache.errors import InputError, ParamsError
from cache.records import ImageSet
from pipeline.config.params import read_params
from pipeline.config.pretrain import PretrainConfig
from pipeline.features.backbone import make_backbone
from pipeline.networks.adversarial import Attack, sharing_weights
from pipeline.networks.efficientnet import make_efficientnet
from pipeline.training import pretrain as module
from pipeline.training.pretrain import ImageBatches, measure, pretrain, random_crops, saved_backbone, saved_network

ROOT = Path(__file__).resolve().parents[3]
TINY = "efficientnet:0.25x0.2/1"
COLOURS = np.array([[200, 60, 60], [60, 200, 60], [60, 60, 200]])


def make_config(*overrides: str) -> PretrainConfig:
    chosen = [f"backbone={TINY}", "sizes=[16, 24]", "epochs=2", "batch=8", "lr=0.01", "device=cpu", *overrides]
    config = read_params(ROOT / "params.yaml", [f"pretrain.{each}" for each in chosen]).pretrain
    assert isinstance(config, PretrainConfig)
    return config


def coloured(count: int, seed: int) -> ImageSet:
    """Noisy images [n, 24, 24, 3] whose class is their colour."""
    random, labels = np.random.default_rng(seed), np.arange(count) % 3
    noise = random.normal(0, 40, (count, 24, 24, 3))
    images = np.clip(COLOURS[labels][:, None, None] + noise, 0, 255).astype(np.uint8)
    ids = np.array([b"%064x" % (1000 * seed + number) for number in range(count)])
    return ImageSet(images, labels, ids, ("red", "green", "blue"))


def test_it_learns_and_says_how() -> None:
    trained = pretrain(coloured(50, 1), coloured(30, 2), make_config("epochs=12"))
    assert [curve["size"] for curve in trained.curves] == [16] * 6 + [24] * 6
    assert set(trained.curves[0]) >= {"epoch", "lr", "train_loss", "train_loss_attacked", "val_loss", "val_accuracy"}
    assert trained.curves[-1]["val_accuracy"] > 0.8
    assert trained.curves[-1]["train_loss"] < trained.curves[0]["train_loss"]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AUGCACHE_STORE", str(tmp_path_factory.mktemp("store")))
        return saved_network(pretrain(coloured(50, 1), coloured(30, 2), make_config()).network)


class Killed(Exception):
    """Stands for a kill between two steps."""


@pytest.mark.parametrize("kill", [1, 5, 6, 9])
def test_a_killed_training_ends_with_the_same_bits(undisturbed: bytes, kill: int) -> None:
    steps = iter(range(1000))

    def advance(count: int) -> None:
        if count == 8 and next(steps) == kill:
            raise Killed

    config = make_config("checkpoint_seconds=0")
    with pytest.raises(Killed):
        pretrain(coloured(50, 1), coloured(30, 2), config, advance)
    advanced: list[int] = []
    again = pretrain(coloured(50, 1), coloured(30, 2), config, advanced.append)
    assert saved_network(again.network) == undisturbed
    assert sum(advanced) == 2 * 48 and advanced[0] >= 8 * (kill - 1)
    assert len(again.curves) == 2


def test_how_often_the_state_is_kept_changes_nothing_and_a_finished_training_is_found_again(undisturbed: bytes) -> None:
    pretrain(coloured(50, 1), coloured(30, 2), make_config("checkpoint_seconds=0"))
    advanced: list[int] = []
    found = pretrain(coloured(50, 1), coloured(30, 2), make_config(), advanced.append)
    assert saved_network(found.network) == undisturbed and advanced == [2 * 48]


@pytest.mark.parametrize("change", ["seed=1", "attack_eps=3", "attack_steps=2", "min_crop=0.9"])
def test_every_parameter_makes_another_training(change: str) -> None:
    first = pretrain(coloured(24, 1), None, make_config("epochs=1"))
    other = pretrain(coloured(24, 1), None, make_config("epochs=1", change))
    assert saved_network(first.network) != saved_network(other.network)


def test_other_labels_are_another_training() -> None:
    images = coloured(24, 1)
    relabelled = ImageSet(images.images, images.labels[::-1].copy(), images.ids, images.classes)
    config = make_config()
    assert module.make_recipe(images, None, config) != module.make_recipe(relabelled, None, config)


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
    trained = pretrain(coloured(24, 1), None, make_config("attack_steps=0", "epochs=1"))
    assert "train_loss_attacked" not in trained.curves[0]


def test_the_saved_backbone_loads_and_its_features_are_the_networks(tmp_path: Path) -> None:
    trained = pretrain(coloured(24, 1), None, make_config())
    (tmp_path / "own.safetensors").write_bytes(saved_backbone(trained.network))
    backbone = make_backbone(TINY, str(tmp_path / "own.safetensors"), 24, "advprop")
    inputs = torch.rand(4, 3, 24, 24) * 2 - 1
    with torch.inference_mode():
        expected = trained.network.extract_features(inputs).mean(dim=(2, 3))
        torch.testing.assert_close(backbone.network(inputs), expected, rtol=0.02, atol=0.02)
    assert (tmp_path / "own.safetensors").stat().st_size < 2.2 * sum(p.numel() for p in backbone.network.parameters())


def test_crops_keep_colours_and_whole_images_where_they_must() -> None:
    images = torch.randint(0, 256, (5, 3, 20, 20), dtype=torch.uint8)
    whole = random_crops(images, 20, 1.0, torch.Generator().manual_seed(0))
    flat = random_crops(torch.full((5, 3, 20, 20), 77, dtype=torch.uint8), 16, 0.3, torch.Generator().manual_seed(0))
    assert whole.shape == (5, 3, 20, 20) and flat.shape == (5, 3, 16, 16)
    torch.testing.assert_close(flat, torch.full((5, 3, 16, 16), 77.0))
    assert float(whole.min()) >= 0 and float(whole.max()) <= 255


def test_half_of_the_crops_are_mirrored() -> None:
    ramp = torch.arange(0, 240, 10, dtype=torch.uint8).expand(400, 3, 24, 24)
    crops = random_crops(ramp, 24, 0.5, torch.Generator().manual_seed(0))
    mirrored = (crops[:, 0, 0, 0] > crops[:, 0, 0, -1]).float().mean()
    assert 0.4 < float(mirrored) < 0.6


def test_an_attack_lowers_accuracy_to_nothing_as_it_grows() -> None:
    images = coloured(60, 1)
    trained = pretrain(images, None, make_config("epochs=12"))
    rows = ImageBatches(torch.from_numpy(images.images[:]).permute(0, 3, 1, 2), torch.from_numpy(images.labels))
    accuracies = [measure(trained.network, rows, 24, Attack(eps, eps / 4, 10))[1] for eps in (0, 20, 120)]
    assert accuracies == sorted(accuracies, reverse=True)
    assert accuracies[0] > 0.9 and accuracies[2] < 0.1


def test_a_loss_that_is_not_finite_is_refused() -> None:
    with pytest.raises(InputError, match=r"diverged.*Lower pretrain\.lr"):
        pretrain(coloured(24, 1), None, make_config("lr=1e30"))


def test_one_image_is_too_few() -> None:
    with pytest.raises(InputError, match="two or more"):
        pretrain(coloured(3, 1).take(np.array([0])), None, make_config())


@pytest.mark.parametrize(
    "name", ["timm:resnet18", "efficientnet:0x1/2", "efficientnet:1x1/3", "efficientnet:1.1.1x1/2"]
)
def test_only_efficientnets_are_pretrained(name: str) -> None:
    with pytest.raises(ParamsError, match="only efficientnet-pytorch"):
        make_config(f"backbone={name}")
