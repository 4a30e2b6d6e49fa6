"""Each operation is torchvision's own, done to every image of a batch by its own amount."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from bundles import noise
from PIL import Image, ImageOps
from rounding import FLOAT32
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional

from pipeline.training.auto_augment import (
    OPERATIONS,
    RAND_AUGMENT,
    apply_operations,
    auto_augment_policies,
    blend,
    brightness,
    contrast,
    grey,
    saturation,
    warp,
)

SIZE = 32
# A place of up to SIZE pixels, along each of two axes, after four roundings; neighbours differ by 255 at most.
WARPED = 2 * 4 * SIZE * FLOAT32 * 255
RED = (0.299 - 0.2989) * 255  # what torchvision's weight of red, which is cut off, makes of a grey at most
COUNT = 6
STRENGTH = torch.tensor([0.0, 0.2, 0.4, 0.6, 0.8, 1.0])
SIGN = torch.tensor([1.0, -1.0, 1.0, -1.0, 1.0, -1.0])
SIGNED = ("ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate", "Brightness", "Color", "Contrast", "Sharpness")
BILINEAR = InterpolationMode.BILINEAR


def photos() -> Tensor:
    """uint8 [6, 3, 32, 32]: grain over colours, each channel of another range, so that contrast can be stretched."""
    images = torch.from_numpy(noise(COUNT, SIZE)).permute(0, 3, 1, 2)
    return (images * torch.tensor([0.9, 0.7, 0.5]).view(1, 3, 1, 1)).round().to(torch.uint8)


def smooth() -> Tensor:
    """float32 [6, 3, 24, 32] of slow waves, which bilinear interpolation hardly changes."""
    places = torch.arange(SIZE).float()
    waves = [
        torch.sin(places / (5 + number))[:, None] * torch.cos(places / (7 + number))[None]
        for number in range(3 * COUNT)
    ]
    return 128 + 100 * torch.stack(waves).view(COUNT, 3, SIZE, SIZE)[:, :, :24]


def run(name: str, pixels: Tensor, strength: Tensor = STRENGTH, sign: Tensor = SIGN) -> Tensor:
    return OPERATIONS[name](pixels.float(), strength, sign)


FACTORS: dict[str, Callable[[Tensor, float], Tensor]] = {
    "Brightness": functional.adjust_brightness,
    "Color": functional.adjust_saturation,
    "Contrast": functional.adjust_contrast,
    "Sharpness": functional.adjust_sharpness,
}
WHOLE: dict[str, Callable[[Tensor, float], Tensor]] = {
    "Posterize": lambda image, strength: functional.posterize(image, round(8 - 4 * strength)),
    "Solarize": lambda image, strength: functional.solarize(image, 255 * (1 - strength)),
    "AutoContrast": lambda image, strength: functional.pil_to_tensor(ImageOps.autocontrast(opened(image))),
    "Equalize": lambda image, strength: functional.pil_to_tensor(ImageOps.equalize(opened(image))),
    "Invert": lambda image, strength: functional.invert(image),
}


def opened(image: Tensor) -> Image.Image:
    return Image.fromarray(image.permute(1, 2, 0).numpy())


@pytest.mark.parametrize("name", FACTORS)
def test_factors_of_colour_are_torchvision_s(name: str) -> None:
    images = photos()
    factors = (1 + 0.9 * STRENGTH * SIGN).tolist()
    expected = [FACTORS[name](image / 255, factor) * 255 for image, factor in zip(images, factors, strict=True)]
    torch.testing.assert_close(run(name, images), torch.stack(expected), rtol=0, atol=RED)


@pytest.mark.parametrize("name", WHOLE)
def test_levels_of_colour_are_torchvision_s_and_pillow_s(name: str) -> None:
    images = photos()
    expected = torch.stack(
        [WHOLE[name](image, strength) for image, strength in zip(images, STRENGTH.tolist(), strict=True)]
    )
    tolerance = 1.0 if name == "AutoContrast" else 0.0  # Pillow cuts fractions off
    torch.testing.assert_close(run(name, images), expected.float(), rtol=0, atol=tolerance)


def test_posterize_and_solarize_have_torchvision_s_levels() -> None:
    ramp = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16).expand(31, 3, 16, 16)
    levels = torch.arange(31) / 30
    bits = (8 - torch.arange(31) / (30 / 4)).round().int().tolist()  # as its RandAugment has them
    thresholds = torch.linspace(255, 0, 31).tolist()
    posterized = torch.stack([functional.posterize(image, count) for image, count in zip(ramp, bits, strict=True)])
    solarized = torch.stack([functional.solarize(image, least) for image, least in zip(ramp, thresholds, strict=True)])
    assert torch.equal(run("Posterize", ramp, levels, levels), posterized.float())
    assert torch.equal(run("Solarize", ramp, levels, levels), solarized.float())


def affine(image: Tensor, angle: float = 0.0, shift: Any = (0, 0), shear: Any = (0.0, 0.0)) -> Tensor:
    degrees = [math.degrees(math.atan(slope)) for slope in shear]
    return functional.affine(image, angle, list(shift), 1.0, degrees, interpolation=BILINEAR)


GEOMETRY: dict[str, Callable[[Tensor, float], Tensor]] = {
    "ShearX": lambda image, amount: affine(image, shear=(0.3 * amount, 0.0)),
    "ShearY": lambda image, amount: affine(image, shear=(0.0, 0.3 * amount)),
    "TranslateX": lambda image, amount: affine(image, shift=(150 / 331 * SIZE * amount, 0)),
    "TranslateY": lambda image, amount: affine(image, shift=(0, 150 / 331 * 24 * amount)),
    "Rotate": lambda image, amount: affine(image, angle=30 * amount),
}


@pytest.mark.parametrize("name", GEOMETRY)
def test_geometry_is_torchvision_s_up_to_the_sign_s_meaning(name: str) -> None:
    """Both signs are as likely, so one may mean left here and right there; but the same for every image and amount."""
    images = smooth()
    amounts = (STRENGTH * SIGN).tolist()
    moved = run(name, images)[:, :, 1:-1, 1:-1]
    distances = []
    for direction in (1, -1):
        peers = [GEOMETRY[name](image, direction * amount) for image, amount in zip(images, amounts, strict=True)]
        distances.append((moved - torch.stack(peers)[:, :, 1:-1, 1:-1]).abs().mean(dim=(1, 2, 3)))
    right, wrong = sorted(distances, key=lambda distance: float(distance.sum()))
    assert float(right.max()) < 1.0
    assert float(wrong[1:].min()) > 2.0


@pytest.mark.parametrize("name", GEOMETRY)
def test_what_comes_from_outside_is_black_and_the_middle_stays(name: str) -> None:
    white = torch.full((1, 3, SIZE, SIZE), 255.0)
    moved = run(name, white, torch.ones(1), torch.ones(1))
    assert float(moved.min()) == 0 and float(moved.max()) == pytest.approx(255)
    assert float(moved[0, 0, SIZE // 2, SIZE // 2]) == pytest.approx(255)


def test_a_warp_moves_by_pixels_and_turns_by_matrices() -> None:
    images = photos().float()[:, :, :, :24]
    left = torch.tensor([[1.0, 0, 5], [0, 1, -3]]).expand(COUNT, 2, 3)
    shifted = warp(images, left)
    torch.testing.assert_close(shifted[:, :, 3:, :-5], images[:, :, :-3, 5:], rtol=0, atol=WARPED)
    assert max(float(shifted[:, :, :3].max()), float(shifted[:, :, :, -5:].max())) < WARPED
    half = warp(images, torch.tensor([[-1.0, 0, 0], [0, -1, 0]]).expand(COUNT, 2, 3))
    torch.testing.assert_close(half, images.flip(2, 3), rtol=0, atol=WARPED)
    square = images[:, :, :24]
    quarter = warp(square, torch.tensor([[0.0, 1, 0], [-1, 0, 0]]).expand(COUNT, 2, 3))
    torch.testing.assert_close(quarter, square.rot90(-1, (2, 3)), rtol=0, atol=WARPED)


def test_identity_leaves_every_byte() -> None:
    images = photos().float()
    moved = apply_operations(images, np.full(COUNT, "Identity"), STRENGTH, SIGN)
    assert torch.equal(moved, images) and moved is not images


@pytest.mark.parametrize("name", SIGNED)
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_no_strength_changes_nothing(name: str, sign: float) -> None:
    images = photos().float()
    moved = run(name, images, torch.zeros(COUNT), torch.full((COUNT,), sign))
    torch.testing.assert_close(moved, images, rtol=0, atol=WARPED)


def test_each_image_has_its_own_operation_strength_and_sign() -> None:
    images = photos().float()
    names = np.array(["Invert", "Identity", "Rotate", "Invert", "Brightness", "Rotate"])
    before = images.clone()
    moved = apply_operations(images, names, STRENGTH, SIGN)
    assert torch.equal(images, before) and torch.equal(moved[1], images[1])
    for row, name in enumerate(names):
        if name != "Identity":
            place = slice(row, row + 1)
            alone = run(str(name), images[place], STRENGTH[place], SIGN[place])
            torch.testing.assert_close(moved[place], alone, rtol=0, atol=WARPED)


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_operation_stays_within_0_and_255(name: str) -> None:
    wild = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (COUNT, 3, 17, 23))).float()
    moved = run(name, wild)
    assert moved.shape == wild.shape and moved.isfinite().all()
    assert float(moved.min()) >= -WARPED and float(moved.max()) <= 255 + WARPED


def test_equal_pixels_survive_what_stretches() -> None:
    flat = torch.full((COUNT, 3, 8, 8), 77.0)
    for name in ("AutoContrast", "Equalize", "Contrast", "Sharpness"):
        torch.testing.assert_close(run(name, flat), flat)


def test_a_factor_of_nought_is_black_grey_or_flat() -> None:
    images = photos().float()
    none = torch.zeros(COUNT)
    assert not brightness(images, none).any()
    torch.testing.assert_close(saturation(images, none), grey(images).expand_as(images))
    flat = contrast(images, none)
    torch.testing.assert_close(flat, grey(images).mean((2, 3), keepdim=True).expand_as(images))
    assert grey(torch.tensor([100.0, 50, 10]).view(1, 3, 1, 1)).item() == pytest.approx(29.9 + 29.35 + 1.14)
    assert blend(images, images * 0, torch.full((COUNT,), 9.0)).max() == 255


def test_policies_name_operations_that_are_there() -> None:
    assert set(RAND_AUGMENT) <= {"Identity", *OPERATIONS}
    for policy in ("imagenet", "cifar10", "svhn"):
        steps = [step for pair in auto_augment_policies(policy) for step in pair]
        assert len(steps) == 50 and {name for name, _, _ in steps} <= set(OPERATIONS)
        assert all(level is None or 0 <= level <= 9 for _, _, level in steps)
