"""Images to augment, both engines on them, and statistics in which two sets of images may differ."""

from typing import Any

import cv2
import numpy as np
from scipy.stats import ks_2samp

from cache.layout import Array, canonical
from pipeline.augmentation.policy import Augmentation
from pipeline.config.augment import Engine

SIDE = 64
LEVEL = 0.005  # of a test of all statistics: the draws are fixed, so those that pass go on passing


def textured(count: int) -> Array:
    """uint8 [count, 64, 64, 3]: spectra that fall as those of photos do, each with its own brightness and contrast."""
    random = np.random.default_rng(3)
    places = np.hypot(*np.meshgrid(np.fft.fftfreq(SIDE), np.fft.rfftfreq(SIDE), indexing="ij"))
    noise = np.fft.rfft2(random.normal(size=(count, 3, SIDE, SIDE))) / np.maximum(places, 1 / SIDE)
    waves = np.fft.irfft2(noise, (SIDE, SIDE)).transpose(0, 2, 3, 1)
    waves += 2 * waves.mean(axis=3, keepdims=True)  # channels of photos go together
    waves /= waves.std(axis=(1, 2, 3), keepdims=True)
    shape = (count, 1, 1, 1)
    tint = random.uniform([20, -10, -40], [40, 10, -20], (count, 1, 1, 3))
    brightness = random.uniform(80, 180, shape)
    contrast = random.uniform(25, 60, shape)
    return np.clip(brightness + tint + contrast * waves, 0, 255).astype(np.uint8)


def augmented(steps: Any, engine: Engine, images: Array, seed: int = 0) -> Array:
    """The images after a policy, in their own size."""
    ids = np.array([b"%064x" % row for row in range(len(images))])
    return Augmentation("policy_1", canonical(steps).decode(), images.shape[1], seed, engine)(images, ids)


def statistics(images: Array) -> dict[str, Array]:
    """Numbers [n] of each image: what geometry, holes, colours and sharpness come to."""
    values = images.astype(np.float32)
    grey = values.mean(axis=3)
    hsv = np.stack([cv2.cvtColor(image, cv2.COLOR_RGB2HSV) for image in images])
    space = (1, 2)
    eighth = images.shape[1] // 8
    middle = slice(3 * eighth, 5 * eighth)
    return {
        "mean": grey.mean(axis=space),
        "deviation": grey.std(axis=space),
        "red over blue": (values[..., 0] - values[..., 2]).mean(axis=space),
        "dark": (images.max(axis=3) < 8).mean(axis=space),
        "without colour": (np.ptp(images, axis=3) < 4).mean(axis=space),
        "hue": hsv[..., 0].mean(axis=space),
        "saturation": hsv[..., 1].mean(axis=space),
        "corner": grey[:, :eighth, :eighth].mean(axis=space),
        "lower edge": grey[:, -4:].mean(axis=space),
        "centre": grey[:, middle, middle].mean(axis=space),
        "across": np.abs(np.diff(grey, axis=2)).mean(axis=space),
        "down": np.abs(np.diff(grey, axis=1)).mean(axis=space),
        "fine detail": np.abs(np.diff(grey, n=2, axis=2)).mean(axis=space),
    }


def changes(images: Array, source: Array) -> dict[str, Array]:
    """Statistics of each image, and how each differs from those of its source, which tells much smaller changes."""
    own = statistics(images)
    before = statistics(source)
    moved = np.abs(images.astype(np.float32) - source).mean(axis=(1, 2, 3))
    return {**{f"change of {name}": own[name] - before[name] for name in own}, "moved": moved}


def differences(first: dict[str, Array], second: dict[str, Array]) -> dict[str, float]:
    """Statistics whose distributions differ, by two-sample Kolmogorov-Smirnov tests (Bonferroni), with their p."""
    tested = {name: float(ks_2samp(values, second[name]).pvalue) for name, values in first.items()}
    return {name: p for name, p in tested.items() if p < LEVEL / len(tested)}
