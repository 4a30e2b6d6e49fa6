"""A small full model over small images, for tests of training and of what uses it."""

from typing import Any

import numpy as np

from cache.records import ImageSet
from pipeline.config.recipe import Recipe, read_recipe
from pipeline.config.train_model import TrainModelConfig

COLOURS = np.array([[190, 80, 80], [80, 190, 80], [80, 80, 190]])
CLASSES = ("red", "green", "blue")
TINY: dict[str, Any] = {
    "network": {"name": "resnetv2", "widths": [16, 32], "blocks": 1},
    "schedule": ["unaugmented x 2"],
    "batch": 16,
    "lr": 0.1,
    "warmup_epochs": 0,
    "augmentation": {"crop_padding": 1},
}
SETTINGS: dict[str, Any] = {
    "recipe": "plain",
    "override": {},
    "seeds": 1,
    "seed": 0,
    "device": "cpu",
    "engine": "eager",
    "memory_gb": 1,
    "checkpoint_seconds": 1000,
    "tensorboard": None,
}


def recipe(**changes: Any) -> Recipe:
    """`plain` made tiny, with changes."""
    return read_recipe("plain", {**TINY, **changes})


def settings(**changes: Any) -> TrainModelConfig:
    """Section `train_model` with changes."""
    return TrainModelConfig(**{**SETTINGS, **changes})


def coloured(count: int, seed: int, variant: str = "unaugmented", size: int = 12) -> ImageSet:
    """Noise in the colour of the class, which a network learns in a few steps."""
    random = np.random.default_rng(seed)
    labels = np.arange(count) % 3
    images = np.clip(COLOURS[labels][:, None, None] + random.normal(0, 25, (count, size, size, 3)), 0, 255)
    ids = np.array([b"%064x" % (1000 * seed + number) for number in range(count)])
    return ImageSet(images.astype(np.uint8), labels, ids, CLASSES, variant)
