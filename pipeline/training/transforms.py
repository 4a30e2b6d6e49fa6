"""Random augmentation of whole batches on the device: every image draws for itself, and all chance is an argument."""

import math

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms import v2

from pipeline.config.recipe import AugmentationConfig, MixConfig, RandAugmentConfig
from pipeline.runtime.devices import to_device
from pipeline.runtime.seeds import make_generator
from pipeline.training.auto_augment import (
    LEVELS,
    RAND_AUGMENT,
    apply_operations,
    auto_augment_policies,
    brightness,
    constants,
    contrast,
    grey,
    rotation,
    saturation,
    warp,
)

RAND_LEVELS = 30
ERASED_AREA = (0.02, 0.33)  # Zhong et al., AAAI 2020
ERASED_ASPECT = (0.3, 3.3)


class Augmenter:
    """One batch's augmentation. seed: of this batch alone, so that a batch does not depend on the ones before."""

    def __init__(self, config: AugmentationConfig, seed: int, device: torch.device) -> None:
        self.config = config
        self.numbers = make_generator("transforms", seed)  # what decides which code runs is drawn on the CPU
        self.generator = torch.Generator(device).manual_seed(seed % 2**63)
        self.device = device

    def __call__(self, images: Tensor, fill: Tensor, size: int) -> Tensor:
        """uint8 [k, h, w, 3] to float32 [k, 3, h, w] in 0..255, channels last. fill [3]: what erased places become.

        size: side in pixels of the network's input, to which random crops of a share of the area are resized at once.
        """
        config = self.config
        if config.crop_area < 1:
            pixels = random_crops(images.permute(0, 3, 1, 2), size, config, self.generator)
        else:
            pixels = self._crop_and_flip(images).permute(0, 3, 1, 2).float()
        if config.rotation or config.translation or config.shear:
            pixels = self._affine(pixels)
        if config.autoaugment:
            pixels = self._auto_augment(pixels, config.autoaugment)
        if config.randaugment:
            pixels = self._rand_augment(pixels, config.randaugment)
        if config.jitter:
            for change, extent in (
                (brightness, config.jitter.brightness),
                (contrast, config.jitter.contrast),
                (saturation, config.jitter.saturation),
            ):
                pixels = change(pixels, (1 + extent * self._signed(len(pixels))).clamp(min=0)) if extent else pixels
        if config.grayscale:
            chosen = self._uniform(len(pixels)) < config.grayscale
            pixels = torch.where(chosen.view(-1, 1, 1, 1), grey(pixels), pixels)
        if config.erasing:
            pixels = self._erase(pixels, fill)
        return pixels.contiguous(memory_format=torch.channels_last)

    def _uniform(self, *shape: int) -> Tensor:
        return torch.rand(shape, generator=self.generator, device=self.device)

    def _signed(self, *shape: int) -> Tensor:
        return 2 * self._uniform(*shape) - 1

    def _crop_and_flip(self, images: Tensor) -> Tensor:
        """One gather of bytes: a random window of the image with zeros around it, mirrored or not."""
        padding = self.config.crop_padding
        (k, height, width, _) = images.shape
        if not padding and not self.config.flip:
            return images
        down, across, mirrored = self._uniform(3, k)
        rows = torch.arange(height, device=self.device) + (down * (2 * padding + 1)).long()[:, None]
        columns = torch.arange(width, device=self.device) + (across * (2 * padding + 1)).long()[:, None]
        columns = torch.where((mirrored < self.config.flip)[:, None], columns.flip(1), columns)
        padded = torch.nn.functional.pad(images, (0, 0, padding, padding, padding, padding))
        every = torch.arange(k, device=self.device)[:, None, None]
        return padded[every, rows[:, :, None], columns[:, None, :]]

    def _affine(self, pixels: Tensor) -> Tensor:
        """Rotation, shear and translation in one warp."""
        config = self.config
        k = len(pixels)
        turned = rotation(self._signed(k) * math.radians(config.rotation))
        slopes = (self._signed(2, k) * math.radians(config.shear)).tan()
        sheared = torch.eye(2, device=self.device).repeat(k, 1, 1)
        sheared[:, 0, 1], sheared[:, 1, 0] = slopes
        sides = constants((pixels.shape[3], pixels.shape[2]), self.device)
        shift = self._signed(k, 2) * config.translation * sides
        return warp(pixels, torch.cat([turned @ sheared, shift[:, :, None]], dim=2))

    def _rand_augment(self, pixels: Tensor, config: RandAugmentConfig) -> Tensor:
        for _ in range(config.operations):
            names = self.numbers.choice(np.array(RAND_AUGMENT), size=len(pixels))
            spread = torch.randn(len(pixels), generator=self.generator, device=self.device) * config.std
            strength = ((config.magnitude + spread) / RAND_LEVELS).clamp(0, 1)
            pixels = apply_operations(pixels, names, strength, self._signed(len(pixels)).sign())
        return pixels

    def _auto_augment(self, pixels: Tensor, policy: str) -> Tensor:
        policies = auto_augment_policies(policy)
        chosen = self.numbers.integers(len(policies), size=len(pixels))
        for step in range(len(policies[0])):
            steps = [policies[number][step] for number in chosen]
            happens = self.numbers.random(len(steps)) < [probability for _, probability, _ in steps]
            names = np.where(happens, np.array([name for name, _, _ in steps]), "Identity")
            levels = to_device(torch.tensor([level or 0 for _, _, level in steps]), self.device) / LEVELS
            pixels = apply_operations(pixels, names, levels, self._signed(len(pixels)).sign())
        return pixels

    def _erase(self, pixels: Tensor, fill: Tensor) -> Tensor:
        """A rectangle of a random share of the area and aspect ratio, within the image."""
        k, _, height, width = pixels.shape
        chance, area, aspect, down, across = self._uniform(5, k)
        low, high = (math.log(ratio) for ratio in ERASED_ASPECT)
        stretch = (low + (high - low) * aspect).exp().sqrt()
        side = ((ERASED_AREA[0] + (ERASED_AREA[1] - ERASED_AREA[0]) * area) * height * width).sqrt()
        tall = (side * stretch).clamp(max=height)
        wide = (side / stretch).clamp(max=width)
        rows = _span(down * (height - tall), tall, height)
        columns = _span(across * (width - wide), wide, width)
        erased = rows[:, None, :, None] & columns[:, None, None, :] & (chance < self.config.erasing).view(-1, 1, 1, 1)
        return torch.where(erased, fill.view(1, 3, 1, 1), pixels)


def random_crops(images: Tensor, size: int, config: AugmentationConfig, generator: torch.Generator) -> Tensor:
    """uint8 [k, 3, h, w] to float32 [k, 3, size, size] in 0..255: a random crop of each, mirrored or not.

    Area share uniform from crop_area to 1 and aspect ratio from 3/4 to 4/3, as in Inception (Szegedy et al., 2015).
    """
    k = len(images)
    device = images.device
    area, aspect, across, down, mirror = torch.rand((5, k), generator=generator, device=device)
    side = (config.crop_area + (1 - config.crop_area) * area).sqrt()
    stretch = torch.exp((2 * aspect - 1) * math.log(4 / 3) / 2)
    width = (side * stretch).clamp(max=1)
    height = (side / stretch).clamp(max=1)
    corners = torch.zeros((k, 2, 3), device=device)  # from the crop's [-1, 1] to the image's
    corners[:, 0, 0] = width * torch.where(mirror < config.flip, -1.0, 1.0)
    corners[:, 1, 1] = height
    corners[:, 0, 2] = (1 - width) * (2 * across - 1)
    corners[:, 1, 2] = (1 - height) * (2 * down - 1)
    grid = torch.nn.functional.affine_grid(corners, [k, 3, size, size], align_corners=False)
    return torch.nn.functional.grid_sample(images.float(), grid, padding_mode="border", align_corners=False)


def _span(start: Tensor, length: Tensor, size: int) -> Tensor:
    """bool [k, size]: the places from start [k] on."""
    places = torch.arange(size, device=start.device)[None]
    return (places >= start.round()[:, None]) & (places < (start + length).round()[:, None])


def mix(pixels: Tensor, labels: Tensor, classes: int, config: AugmentationConfig, seed: int) -> tuple[Tensor, Tensor]:
    """CutMix or MixUp of the batch, or neither; labels become shares [k, c] where it is mixed.

    torchvision's own transforms, which draw from torch's generator on the CPU: the caller has seeded it.
    """
    kinds: list[tuple[MixConfig | None, type]] = [(config.cutmix, v2.CutMix), (config.mixup, v2.MixUp)]
    chosen = [(mixing, kind) for mixing, kind in kinds if mixing is not None]
    if not chosen:
        return pixels, labels
    numbers = make_generator("mix", seed)
    mixing, kind = chosen[int(numbers.integers(len(chosen)))]
    if numbers.random() >= mixing.probability:
        return pixels, labels
    mixed: tuple[Tensor, Tensor] = kind(alpha=mixing.alpha, num_classes=classes)(pixels, labels)
    return mixed
