"""Estimates of all stages in the order of the story."""

import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from cache.parts import other_store
from cache.records import UNAUGMENTED, ImageSet
from pipeline.augmentation.keep import Keep, ModelReading, choose_keep
from pipeline.augmentation.policy import make_augmentation
from pipeline.config.gan import OFF as NO_GAN
from pipeline.config.params import Params
from pipeline.config.recipe import read_recipe
from pipeline.config.shared.schedule import images_trained
from pipeline.config.shared.stages import AUGMENT, EVALUATE, FEATURIZE, GAN, PREPARE, REPORT, TRAIN_HEAD, TRAIN_MODEL
from pipeline.config.train_model import OFF as NO_MODEL
from pipeline.estimate.cached import kept_features, kept_images, sets_of
from pipeline.estimate.head_timings import (
    EvaluationCosts,
    HeadCosts,
    estimate_evaluate,
    estimate_train_head,
    rows_trained,
)
from pipeline.estimate.survey import SAMPLE, Survey, survey
from pipeline.estimate.timings import (
    Estimate,
    drawing_beside,
    estimate_augment,
    estimate_featurize,
    estimate_gan,
    estimate_prepare,
    estimate_train_model,
    width_of,
)
from pipeline.features.featurizer import Featurizer
from pipeline.runtime.threads import usable_threads

REPORT_SECONDS = 2.0  # beyond start-up: it draws small pictures, and no more of them for more images
LIGHT = "import stages._cli, pipeline.ingest.read_source"
TORCH = "import stages._cli, torch"


@dataclass(frozen=True)
class PreviousRun:
    """What earlier runs left. prepared: sets by split. augmented: by file name. free_bytes: of the disk they lie on."""

    prepared: Mapping[str, ImageSet]
    augmented: Mapping[str, ImageSet]
    free_bytes: float = math.inf


def estimate_all(params: Params, past: PreviousRun, due: Collection[str]) -> Iterator[Estimate]:
    """A stage each, in order. due: the stages that would run; the others take nothing, and are not tried."""
    known = _survey_of(past.prepared) if past.prepared and PREPARE not in due else survey(params.prepare)
    for stage, rows, estimate in _stages(params, past, known):
        if stage in due:
            estimated = estimate()
            seconds, memory = start_of(LIGHT if stage in (PREPARE, AUGMENT, REPORT) else TORCH)
            yield replace(estimated, seconds=estimated.seconds + seconds, memory=estimated.memory + memory)
        else:
            yield Estimate(stage, rows, rows, 0.0, 0.0)


def _stages(params: Params, past: PreviousRun, known: Survey) -> Iterator[tuple[str, int, Callable[[], Estimate]]]:
    """Each stage's name, the rows that it makes or looks at, and what estimates it."""
    augment = params.augment
    gan = params.gan
    featurize = params.featurize
    head = params.train_head
    model = params.train_model
    images = sum(known.rows.values())
    variants = len(augment.variants) + 1
    kept = cache(lambda: kept_images(augment, past.prepared, past.augmented))
    keep = cache(lambda: _keep_of(params, known, past.free_bytes))
    featurizer = cache(lambda: Featurizer(featurize))
    heads = cache(lambda: HeadCosts(known.rows, known.classes, width_of(featurizer(), known.images)))
    samples = 0 if gan.kind == NO_GAN else known.classes * gan.samples
    rows = images * variants + samples

    def of_features() -> Estimate:
        there = min(rows, kept_features(featurizer(), sets_of(past.prepared, past.augmented, kept())))
        estimated = estimate_featurize(featurizer(), rows, there, known.images)
        if keep().choice == "pixels":
            return estimated
        drawn = min(rows - there, images * (variants - 1))
        return replace(estimated, seconds=estimated.seconds + drawing_beside(augment, known, drawn))

    def of_judging() -> Estimate:
        return estimate_evaluate(EvaluationCosts(params.evaluate, head, featurize, known.images, variants), heads())

    yield PREPARE, images, lambda: estimate_prepare(known, params.prepare.size, usable_threads())
    yield AUGMENT, images * (variants - 1), lambda: estimate_augment(augment, known, kept(), keep())
    if samples:
        yield GAN, samples, lambda: _apart(lambda: estimate_gan(gan, known))
    yield FEATURIZE, rows, of_features
    trained = rows_trained(head, known.rows["train"], samples)
    yield TRAIN_HEAD, trained, lambda: estimate_train_head(head, heads(), samples)
    if model.recipe != NO_MODEL:
        recipe = read_recipe(model.recipe, model.override)
        trained = model.seeds * images_trained(recipe.schedule, {UNAUGMENTED: range(known.rows["train"])})
        yield TRAIN_MODEL, trained, lambda: _apart(lambda: estimate_train_model(recipe, params, known))
    yield EVALUATE, known.rows.get("test", 0) * variants, of_judging
    yield REPORT, images, lambda: Estimate(REPORT, images, 0, REPORT_SECONDS, 1e6)


def _keep_of(params: Params, known: Survey, free_bytes: float) -> Keep:
    augmentations = [make_augmentation(params.augment, variant) for variant in params.augment.variants]
    model = params.train_model
    reading = ModelReading(params.model_schedule, model.seeds, model.memory_gb * 2**30)
    return choose_keep(params.augment, augmentations, known.rows, reading, free_bytes)


def _survey_of(prepared: Mapping[str, ImageSet]) -> Survey:
    train = prepared["train"]
    rows = {split: len(images) for split, images in prepared.items()}
    return Survey(rows, len(train.classes), sum(rows.values()), train.images[:SAMPLE], 0.0, 0.0)


@cache
def start_of(imports: str) -> tuple[float, float]:
    """Seconds and bytes that a process takes before it does anything."""
    code = f"{imports}; import psutil; print(psutil.Process().memory_info().rss)"
    started = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)  # noqa: S603
    return time.perf_counter() - started, float(done.stdout)


def _apart(estimate: Callable[[], Estimate]) -> Estimate:
    """Estimate with a temporary store: trainings that are only timed leave no checkpoints behind."""
    with tempfile.TemporaryDirectory() as folder, other_store(Path(folder)):
        return estimate()


def span(seconds: float) -> str:
    """Such as `45 s`, `12 min` or `3.5 h`."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
