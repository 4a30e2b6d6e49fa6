"""How fast each engine featurizes on this machine."""

import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from cache.layout import Array
from pipeline.config.featurize import FeaturizeConfig
from pipeline.features.featurizer import Featurizer
from pipeline.runtime.devices import choose_device

SECONDS, BATCHES = 5.0, 4
CANDIDATES = (
    ("eager", "float32"),
    ("onnx", "float32"),
    ("compile", "float32"),
    ("eager", "bfloat16"),
    ("compile", "bfloat16"),
)


@dataclass(frozen=True)
class Timing:
    """Of one engine: seconds to its first rows, then images a second; cosine of its worst row to eager float32."""

    engine: str
    precision: str
    start: float
    rate: float
    cosine: float

    def __str__(self) -> str:
        return f"{self.engine:<9}{self.precision:<10}{self.start:>8.1f}{self.rate:>12,.0f}{self.cosine:>12.6f}"


def tune(config: FeaturizeConfig) -> Iterator[Timing]:
    """Each engine that can run here, on images of the configured size, the plain one first."""
    on_gpu = choose_device(config.device).type == "cuda"
    images = np.random.default_rng(0).integers(0, 256, (BATCHES * config.batch, config.size, config.size, 3), np.uint8)
    reference = None
    for engine, precision in CANDIDATES:
        if engine == "onnx" and on_gpu:
            continue
        chosen = {"engine": engine, "precision": precision, "dtype": "float32"}
        featurizer = Featurizer(config.model_copy(update=chosen))
        keys = np.zeros(len(images), dtype="S64")
        started = time.perf_counter()
        found = featurizer(images, keys)
        start = time.perf_counter() - started
        reference = found if reference is None else reference
        yield Timing(engine, precision, start, _rate(featurizer, images, keys), _cosine(found, reference))


def tune_lines(config: FeaturizeConfig) -> Iterator[str]:
    """A table of all engines, a line as soon as it is measured, and last what to set."""
    yield f"{'engine':<9}{'precision':<10}{'start, s':>8}{'images/s':>12}{'cosine':>12}"
    timings = []
    for timing in tune(config):
        timings.append(timing)
        yield str(timing)
    best = fastest(timings)
    yield f"fastest here: --set featurize.engine={best.engine} --set featurize.precision={best.precision}"


def fastest(timings: list[Timing], floor: float = 0.9999) -> Timing:
    """The fastest whose features are as good as the plain one's."""
    return max((one for one in timings if one.cosine >= floor), key=lambda one: one.rate)


def _rate(featurizer: Featurizer, images: Array, keys: Array) -> float:
    """Images a second, over some seconds."""
    done, started = 0, time.perf_counter()
    while not done or time.perf_counter() - started < SECONDS:
        done += len(featurizer(images, keys))
    return done / (time.perf_counter() - started)


def _cosine(found: Array, reference: Array) -> float:
    norms = np.linalg.norm(found, axis=1) * np.linalg.norm(reference, axis=1)
    return float(((found * reference).sum(axis=1) / norms).min())
