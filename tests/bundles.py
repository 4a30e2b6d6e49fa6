"""A small whole classifier for tests of bundles, predictions and exports."""

from pathlib import Path

import numpy as np
import torch

from pipeline.config.params import read_params
from pipeline.features.featurizer import Featurizer
from pipeline.inference.bundle import Bundle
from pipeline.inference.classifier import HeadClassifier
from pipeline.inference.restore import FeaturizedHead
from pipeline.networks.head import Head

ROOT = Path(__file__).resolve().parents[1]
CLASSES = ("ant", "bee", "cow")


def tiny_bundle(size: int = 32, *overrides: str) -> Bundle:
    """A seeded network of random weights; its answers differ from image to image."""
    tiny = ["featurize.backbone=efficientnet:0.25x0.2/2", "featurize.weights=random", "featurize.size=32"]
    params = read_params(ROOT / "params.yaml", [*tiny, "featurize.batch=16", *overrides])
    featurizer = Featurizer(params.featurize)
    seen = torch.from_numpy(featurizer(noise(16, size), np.empty(16, dtype="S64"))).float()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        head = Head([seen.shape[1], 8, len(CLASSES)], 0.0, 0.0).eval()
    head.mean.copy_(seen.mean(dim=0))
    head.deviation.copy_(seen.std(dim=0) + 1e-3)
    return Bundle(size, FeaturizedHead(featurizer, HeadClassifier(head, CLASSES, featurizer.recipe, 0.5)))


def noise(count: int, size: int) -> np.ndarray:
    """Images uint8 [count, size, size, 3], each of another colour and grain."""
    random = np.random.default_rng(0)
    colours = random.integers(0, 200, (count, 1, 1, 3))
    grain = random.integers(0, 55, (count, size, size, 1))
    return (colours + grain).astype(np.uint8)
