"""Each corruption does what its name says, more so with severity, and leaves whole values in 0..255."""

from itertools import pairwise
from typing import get_args

import pytest
import torch
from torch.nn import functional

from pipeline.config.evaluate import CorruptionName
from pipeline.evaluation.corruptions import CORRUPTIONS, SEVERITIES, corrupt


def photos(size: int = 64) -> torch.Tensor:
    """Smooth colours with an edge: float [4, 3, size, size] in 0..255."""
    ramp = torch.linspace(20, 200, size)
    images = torch.stack([ramp.expand(size, size), ramp.flip(0).expand(size, size), ramp[:, None].expand(size, size)])
    images = images.repeat(4, 1, 1, 1)
    images[:, :, : size // 2, : size // 3] = 240
    return images.round()


def run(name: str, severity: int, images: torch.Tensor, seed: int = 0) -> torch.Tensor:
    return corrupt(images, name, severity, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_severity_moves_images_further_and_values_stay_whole(name: str) -> None:
    images = photos()
    corrupted = [run(name, severity, images) for severity in SEVERITIES]
    distances = [0.0, *(float((result - images).abs().mean()) for result in corrupted)]
    assert all(nearer < farther for nearer, farther in pairwise(distances))
    for result in corrupted:
        assert result.shape == images.shape and result.min() >= 0 and result.max() <= 255
        assert torch.equal(result, result.round())


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_the_same_generator_gives_the_same_image_and_odd_sizes_work(name: str) -> None:
    images = photos(33)[:, :, :, :21]
    result = run(name, 5, images)
    assert result.shape == images.shape
    assert torch.equal(run(name, 5, images), result)
    assert torch.equal(run(name, 5, images, seed=1), result) == (not name.endswith("noise"))


def test_noises_have_the_published_strength() -> None:
    grey = torch.full((8, 3, 64, 64), 128.0)
    assert float((run("gaussian_noise", 1, grey) - grey).std()) == pytest.approx(0.08 * 255, rel=0.02)
    assert float((run("shot_noise", 1, grey) - grey).std()) == pytest.approx((128 / 255 / 60) ** 0.5 * 255, rel=0.02)
    hit = run("impulse_noise", 3, grey)
    assert float((hit != grey).float().mean()) == pytest.approx(0.09, rel=0.05)
    assert set(hit.unique().tolist()) == {0, 128, 255}


def test_light_contrast_and_blocks_are_as_computed_by_hand() -> None:
    flat = torch.tensor([100.0, 50.0, 0.0]).view(1, 3, 1, 1).expand(1, 3, 8, 8)
    brighter = run("brightness", 1, flat)[0, :, 0, 0]  # value 100/255 + 0.1; hue and saturation stay
    assert brighter.tolist() == [126, 63, 0]
    halves = torch.cat([torch.zeros(1, 3, 8, 4), torch.full((1, 3, 8, 4), 200.0)], dim=3)
    assert run("contrast", 1, halves)[0, 0, 0].unique().tolist() == [60, 140]
    assert run("pixelate", 5, photos(8))[0, 0].unique().numel() <= 4


def test_blur_shrinks_with_the_image() -> None:
    point = torch.zeros(1, 3, 224, 224)
    point[:, :, 112, 112] = 255 * 100
    result = corrupt(point.clamp(max=255), "gaussian_blur", 1, torch.Generator())
    assert float(result[0, 0, 112, 112]) == pytest.approx(255 * 0.1592, abs=1)  # 1 / (2 pi sigma^2), sigma 1
    small = torch.zeros(1, 3, 56, 56)
    small[:, :, 28, 28] = 255
    assert float(corrupt(small, "gaussian_blur", 1, torch.Generator())[0, 0, 28, 28]) > 250  # sigma 0.25


def test_blur_mirrors_the_border_without_its_last_pixel() -> None:
    images = torch.rand(1, 3, 20, 24, generator=torch.Generator().manual_seed(0)) * 255
    sigma = 6 * 20 / 224
    reach = 2
    weights = torch.exp(-(torch.arange(-reach, reach + 1.0) ** 2) / (2 * sigma**2))
    kernel = (weights / weights.sum()).expand(3, 1, 1, -1)
    across = functional.conv2d(functional.pad(images, [reach, reach, 0, 0], mode="reflect"), kernel, groups=3)
    down = functional.pad(across, [0, 0, reach, reach], mode="reflect")
    expected = functional.conv2d(down, kernel.transpose(2, 3), groups=3)
    result = corrupt(images, "gaussian_blur", 5, torch.Generator())
    torch.testing.assert_close(result, expected.round(), rtol=0, atol=1)
    assert float((result - expected).abs().mean()) < 0.3  # of rounding alone, 0.25


def test_params_name_every_corruption() -> None:
    assert list(get_args(CorruptionName)) == list(CORRUPTIONS)
