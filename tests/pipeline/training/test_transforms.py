"""Augmentation is a function of its seed; each image draws for itself, as often and as far as the recipe says."""

from typing import Any

import numpy as np
import pytest
import torch
from bundles import noise
from torch import Tensor

from pipeline.config.recipe import AugmentationConfig, read_recipe
from pipeline.training.auto_augment import grey
from pipeline.training.transforms import ERASED_AREA, ERASED_ASPECT, Augmenter, mix

OFF = {"crop_padding": 0, "flip": 0}
FILL = torch.tensor([10.0, 20.0, 30.0])
RAND = {"randaugment": {"operations": 2, "magnitude": 15, "std": 0.5}}
EVERYTHING: dict[str, Any] = {
    "crop_padding": 4,
    "flip": 0.5,
    "rotation": 15,
    "translation": 0.1,
    "shear": 10,
    "autoaugment": "cifar10",
    **RAND,
    "jitter": {"brightness": 0.2, "contrast": 0.2, "saturation": 0.2},
    "grayscale": 0.5,
    "erasing": 0.5,
}
STEPS = [{key: EVERYTHING[key]} for key in EVERYTHING]
CUTMIX = {"cutmix": {"probability": 0.5, "alpha": 1.0}}
MIXUP = {"mixup": {"probability": 0.5, "alpha": 0.2}}


def make_config(**values: Any) -> AugmentationConfig:
    """Everything off but these."""
    return read_recipe("plain", {"augmentation": OFF | values}).augmentation


def images(count: int = 16, size: int = 32) -> Tensor:
    return torch.from_numpy(noise(count, size))


def run(batch: Tensor, seed: int = 0, **values: Any) -> Tensor:
    return Augmenter(make_config(**values), seed, torch.device("cpu"))(batch, FILL, batch.shape[1])


def plain(batch: Tensor) -> Tensor:
    return batch.permute(0, 3, 1, 2).float()


def changed(before: Tensor, after: Tensor) -> Tensor:
    """bool [k]"""
    return (before != after).flatten(1).any(dim=1)


@pytest.mark.parametrize("values", [*STEPS, EVERYTHING], ids="-".join)
def test_the_seed_alone_decides(values: dict[str, Any]) -> None:
    batch = images()
    torch.manual_seed(1)
    np.random.seed(1)
    first = run(batch, 3, **values)
    torch.manual_seed(2)
    torch.rand(5)
    assert torch.equal(run(batch, 3, **values), first)
    assert not torch.equal(run(batch, 4, **values), first)


def test_torch_s_own_state_is_left_alone() -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    run(images(), 3, **EVERYTHING)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("values", [*STEPS, EVERYTHING], ids="-".join)
def test_results_are_whole_batches_of_finite_pixels_channels_last(values: dict[str, Any]) -> None:
    batch = images()
    before = batch.clone()
    result = run(batch, 1, **values)
    assert result.shape == (16, 3, 32, 32) and result.dtype == torch.float32
    assert result.is_contiguous(memory_format=torch.channels_last) and result.isfinite().all()
    assert float(result.min()) >= -1e-3 and float(result.max()) <= 255 + 1e-3
    assert changed(plain(batch), result).sum() >= 3 and torch.equal(batch, before)


def test_with_everything_off_pixels_stay() -> None:
    assert torch.equal(run(images()), plain(images()))


@pytest.mark.parametrize("values", STEPS, ids="-".join)
def test_each_image_draws_for_itself(values: dict[str, Any]) -> None:
    """Sixty-four copies of one image come out in many ways, or, where a step is taken or not, in two."""
    copies = images(1).expand(64, 32, 32, 3)
    ways = run(copies, 5, **values).flatten(1).unique(dim=0)
    assert len(ways) == 2 if "flip" in values or "grayscale" in values else len(ways) > 12


def test_a_crop_is_a_window_of_the_image_among_zeros() -> None:
    batch = images(200, 12) + 1  # noise stays below 255, so no pixel is zero
    result = run(batch, crop_padding=3)
    padded = torch.nn.functional.pad(plain(batch), (3, 3, 3, 3))
    shifts = set()
    for image, whole in zip(result, padded, strict=True):
        places = [(y, x) for y in range(7) for x in range(7) if torch.equal(whole[:, y : y + 12, x : x + 12], image)]
        assert len(places) == 1
        shifts.add(places[0])
    assert len(shifts) > 40  # of 49
    assert {y for y, _ in shifts} == {x for _, x in shifts} == set(range(7))


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_flips_mirror_as_often_as_asked(share: float) -> None:
    batch = images(400, 8)
    result = run(batch, flip=share)
    straight = plain(batch)
    mirrored = (result == straight.flip(3)).flatten(1).all(dim=1)
    assert torch.equal(mirrored, ~(result == straight).flatten(1).all(dim=1))
    assert float(mirrored.float().mean()) == pytest.approx(share, abs=0.06)


@pytest.mark.parametrize("share", [0.0, 0.1, 1.0])
def test_grayscale_comes_as_often_as_asked(share: float) -> None:
    batch = images(400, 8)
    result = run(batch, grayscale=share)
    coloured = plain(batch)
    chosen = changed(coloured, result)
    torch.testing.assert_close(result[chosen], grey(coloured[chosen]).expand_as(result[chosen]))
    assert float(chosen.float().mean()) == pytest.approx(share, abs=0.04)


def test_erasing_fills_one_rectangle_of_the_papers_areas_and_aspects() -> None:
    white = torch.full((600, 64, 64, 3), 255, dtype=torch.uint8)
    result = run(white, erasing=0.5)
    erased = (result != 255).any(dim=1)
    assert torch.equal(result, torch.where(erased[:, None], FILL.view(1, 3, 1, 1), 255.0))
    chosen = erased.flatten(1).any(dim=1)
    assert float(chosen.float().mean()) == pytest.approx(0.5, abs=0.06)
    tall = erased[chosen].any(dim=2).sum(dim=1)
    wide = erased[chosen].any(dim=1).sum(dim=1)
    assert torch.equal(erased[chosen].sum(dim=(1, 2)), tall * wide)
    area = tall * wide / 64**2
    aspect = tall / wide
    assert ERASED_AREA[0] * 0.7 < float(area.min()) < 0.04 and 0.3 < float(area.max()) < ERASED_AREA[1] * 1.05
    assert ERASED_ASPECT[0] * 0.8 < float(aspect.min()) < 0.4 and 2.5 < float(aspect.max()) < ERASED_ASPECT[1] * 1.2
    assert float(area.mean()) == pytest.approx(0.175, abs=0.02)


def test_jitter_stays_within_its_range_and_fills_it() -> None:
    flat = torch.full((500, 4, 4, 3), 100, dtype=torch.uint8)
    jitter = {"brightness": 0.2, "contrast": 0.0, "saturation": 0.0}
    result = run(flat, jitter=jitter)[:, 0, 0, 0]
    assert 80 <= float(result.min()) < 82 and 118 < float(result.max()) <= 120.001
    assert torch.equal(run(images(), jitter=dict.fromkeys(jitter, 0.0)), plain(images()))


def test_contrast_and_saturation_leave_a_grey_image_s_mean() -> None:
    batch = grey(plain(images()) / 2).round().expand(16, 3, 32, 32).permute(0, 2, 3, 1).to(torch.uint8)
    result = run(batch, jitter={"brightness": 0.0, "contrast": 0.5, "saturation": 0.5})
    torch.testing.assert_close(result.mean((1, 2, 3)), plain(batch).mean((1, 2, 3)), rtol=1e-3, atol=0.1)
    assert changed(plain(batch), result).all()


@pytest.mark.parametrize(
    ("values", "least"),
    [({"translation": 0.25}, 24), ({"rotation": 90}, 0), ({"shear": 45}, 0), ({"rotation": 10}, 24)],
)
def test_geometry_reaches_as_far_as_asked(values: dict[str, Any], least: int) -> None:
    """A white image's black corners tell how far it has moved; the middle always stays white."""
    white = torch.full((300, 32, 32, 3), 255, dtype=torch.uint8)
    result = run(white, **values)[:, 0]
    assert float(result[:, 14:18, 14:18].min()) > 254
    lit = (result > 128).sum(dim=2).amax(dim=1)  # the longest row that is still white
    assert int(lit.min()) >= least
    assert float((result < 128).float().mean()) > 0.01


def test_translation_reaches_its_share_of_each_side_and_no_farther() -> None:
    white = torch.full((400, 16, 32, 3), 255, dtype=torch.uint8)
    result = run(white, translation=0.25)[:, 0] > 128
    lost = 32 - result.any(dim=1).sum(dim=1), 16 - result.any(dim=2).sum(dim=1)
    assert int(lost[0].max()) == 8 and int(lost[1].max()) == 4
    assert int(lost[0].min()) == int(lost[1].min()) == 0


def test_rand_augment_without_strength_still_draws_operations_and_more_of_it_changes_more() -> None:
    batch = images(64)
    moved = []
    for magnitude in (1, 10, 30):
        result = run(batch, randaugment={"operations": 1, "magnitude": magnitude, "std": 0})
        moved.append(float((result - plain(batch)).abs().mean()))
    assert moved == sorted(moved) and moved[0] > 0


@pytest.mark.parametrize("policy", ["imagenet", "cifar10", "svhn"])
def test_auto_augment_changes_most_images(policy: str) -> None:
    batch = images(64)
    share = float(changed(plain(batch), run(batch, autoaugment=policy)).float().mean())
    assert 0.6 < share <= 1


def mixed(seed: int, config: AugmentationConfig) -> tuple[Tensor, Tensor, Tensor]:
    """The pixels before, and what `mix` makes of them and their labels 0 1 2 0 ..., seeded as training does."""
    pixels = plain(images(8, 16)).contiguous(memory_format=torch.channels_last)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return pixels, *mix(pixels, torch.arange(8) % 3, 3, config, seed)


@pytest.mark.parametrize("values", [CUTMIX, MIXUP, CUTMIX | MIXUP], ids="-".join)
def test_as_many_batches_are_mixed_as_asked_and_their_labels_are_shares(values: dict[str, Any]) -> None:
    config = make_config(**values)
    soft = 0
    for seed in range(200):
        pixels, result, labels = mixed(seed, config)
        if labels.is_floating_point():
            soft += 1
            torch.testing.assert_close(labels.sum(dim=1), torch.ones(8))
            assert float(labels.min()) >= 0 and result.shape == pixels.shape
        else:
            assert torch.equal(result, pixels) and torch.equal(labels, torch.arange(8) % 3)
    assert soft == pytest.approx(100, abs=25)


def test_no_mixing_leaves_labels_hard() -> None:
    for values in ({}, {"cutmix": {"probability": 0, "alpha": 1.0}}):
        pixels, result, labels = mixed(0, make_config(**values))
        assert torch.equal(result, pixels) and torch.equal(labels, torch.arange(8) % 3)


def test_always_mixing_mixes_always_with_either_kind() -> None:
    always = {"probability": 1, "alpha": 1.0}
    config = make_config(cutmix=always, mixup=always)
    kinds = []
    for seed in range(40):
        pixels, result, labels = mixed(seed, config)
        assert labels.is_floating_point()
        kinds.append(bool(((result == pixels) | (result == pixels.roll(1, 0))).all()))  # CutMix keeps every value
    assert 10 < sum(kinds) < 30


def test_shares_of_labels_are_those_of_the_pixels() -> None:
    white = torch.zeros(2, 3, 16, 16)
    white[0] = 1
    for values in ({"cutmix": {"probability": 1, "alpha": 1.0}}, {"mixup": {"probability": 1, "alpha": 1.0}}):
        torch.manual_seed(4)
        result, labels = mix(white, torch.tensor([1, 0]), 2, make_config(**values), 0)
        assert 0.01 < float(labels[0, 1]) < 0.99
        torch.testing.assert_close(result.mean((1, 2, 3)), labels[:, 1])


def test_the_same_seed_mixes_the_same_way() -> None:
    config = make_config(**CUTMIX, **MIXUP)
    for seed in range(10):
        first = mixed(seed, config)
        again = mixed(seed, config)
        assert all(torch.equal(own, other) for own, other in zip(first, again, strict=True))
