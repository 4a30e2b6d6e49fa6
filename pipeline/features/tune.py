"""How fast each engine featurizes on this machine."""

import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from cache.errors import InputError
from cache.layout import Array
from pipeline.config.shared.featurize import LAST, FeaturizeConfig
from pipeline.features.featurizer import Featurizer
from pipeline.runtime.devices import choose_device

SECONDS = 5.0
BATCHES = 4
CANDIDATES = (
    ("eager", "float32"),
    ("onnx", "float32"),
    ("compile", "float32"),
    ("eager", "bfloat16"),
    ("compile", "bfloat16"),
)


@dataclass(frozen=True)
class Timing:
    """Of one engine: seconds to its first rows, then images per second; cosine of its worst row to eager float32."""

    engine: str
    precision: str
    start: float
    rate: float
    cosine: float

    def __str__(self) -> str:
        return f"{self.engine:<9}{self.precision:<10}{self.start:>8.1f}{self.rate:>12,.0f}{self.cosine:>12.6f}"


def tune(config: FeaturizeConfig) -> Iterator[Timing | str]:
    """The timing of each engine on images of the configured size, the plain one first, or why one cannot run here."""
    images = np.random.default_rng(0).integers(0, 256, (BATCHES * config.batch, config.size, config.size, 3), np.uint8)
    reference = None
    for engine, precision in _candidates(config):
        chosen = {"engine": engine, "precision": precision, "dtype": "float32"}
        featurizer = Featurizer(config.model_copy(update=chosen))
        keys = np.zeros(len(images), dtype="S64")
        started = time.perf_counter()
        try:
            features = featurizer(images, keys)
        except InputError as error:
            if engine == "eager":
                raise
            yield f"{engine:<9}{precision:<10}skipped: {error}"
            continue
        start = time.perf_counter() - started
        reference = features if reference is None else reference
        yield Timing(engine, precision, start, _rate(featurizer, images, keys), _cosine(features, reference))


def _candidates(config: FeaturizeConfig) -> list[tuple[str, str]]:
    """Engines and precisions that this device and these layers allow."""
    left_out = {"onnx"} if choose_device(config.device).type == "cuda" else set()
    left_out |= {"compile"} if config.layers != LAST else set()
    return [(engine, precision) for engine, precision in CANDIDATES if engine not in left_out]


def tune_lines(config: FeaturizeConfig) -> Iterator[str]:
    """A table of all engines, a line as soon as it is measured, and last what to set."""
    yield f"{'engine':<9}{'precision':<10}{'start, s':>8}{'images/s':>12}{'cosine':>12}"
    timings = []
    for result in tune(config):
        if isinstance(result, Timing):
            timings.append(result)
        yield str(result)
    best = fastest(timings)
    yield f"fastest here: --set featurize.engine={best.engine} --set featurize.precision={best.precision}"


def fastest(timings: list[Timing], floor: float = 0.9999) -> Timing:
    """The fastest whose features are as good as the plain one's."""
    return max((timing for timing in timings if timing.cosine >= floor), key=lambda timing: timing.rate)


def _rate(featurizer: Featurizer, images: Array, keys: Array) -> float:
    """Images per second, over some seconds."""
    done = 0
    started = time.perf_counter()
    while not done or time.perf_counter() - started < SECONDS:
        done += len(featurizer(images, keys))
    return done / (time.perf_counter() - started)


def _cosine(features: Array, reference: Array) -> float:
    norms = np.linalg.norm(features, axis=1) * np.linalg.norm(reference, axis=1)
    return float(((features * reference).sum(axis=1) / norms).min())
