"""Estimates of all stages in the order of the story."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from joblib import cpu_count

from cache.parts import STORE_VARIABLE
from cache.records import ImageSet
from pipeline.config.gan import OFF as NO_GAN
from pipeline.config.recipe import read_recipe
from pipeline.config.train_model import OFF as NO_MODEL
from pipeline.estimate import (
    Estimate,
    estimate_augment,
    estimate_featurize,
    estimate_gan,
    estimate_prepare,
    estimate_train_model,
)
from pipeline.estimate_heads import Heads, Judging, estimate_evaluate, estimate_train_head
from pipeline.existing import kept_features, kept_images, sets_of
from pipeline.featurize import Featurizer
from pipeline.survey import SAMPLE, Survey, survey

REPORT_SECONDS = 2.0  # beyond start-up: it draws small pictures, and no more of them for more images
LIGHT = "import stages._cli, pipeline.ingest"
TORCH = "import stages._cli, torch"


@dataclass(frozen=True)
class Past:
    """What earlier runs left. prepared: sets by split. made: augmented ones by file name."""

    prepared: Mapping[str, ImageSet]
    made: Mapping[str, ImageSet]


def estimate_all(sections: Mapping[str, Any], past: Past, due: Collection[str]) -> Iterator[Estimate]:
    """A stage each, in order. due: the stages that would run; the others take nothing."""
    known = _survey_of(past.prepared) if past.prepared and "prepare" not in due else survey(sections["prepare"])
    for one in _all(sections, past, known, due):
        if one.stage in due:
            seconds, memory = start_of(LIGHT if one.stage in ("prepare", "augment", "report") else TORCH)
            yield replace(one, seconds=one.seconds + seconds, memory=one.memory + memory)
        else:
            yield Estimate(one.stage, one.rows, one.rows, 0.0, 0.0)


def _all(sections: Mapping[str, Any], past: Past, known: Survey, due: Collection[str]) -> Iterator[Estimate]:
    augment, gan, featurize, head, model = (
        sections[name] for name in ("augment", "gan", "featurize", "train_head", "train_model")
    )
    images, variants = sum(known.rows.values()), len(augment.variants) + 1
    yield estimate_prepare(known, sections["prepare"].size, cpu_count())
    kept = kept_images(augment, past.prepared, past.made)
    yield estimate_augment(augment, known, kept)
    samples = 0 if gan.kind == NO_GAN else known.classes * gan.samples
    if samples:
        with _scratch_store():
            yield estimate_gan(gan, known)
    there = kept_features(Featurizer(featurize), sets_of(past.prepared, past.made, kept))
    rows = images * variants + samples
    made, width = estimate_featurize(featurize, rows, min(there, rows), known.images)
    yield made
    heads = Heads(known.rows, known.classes, width)
    yield estimate_train_head(head, heads, samples)
    if model.recipe != NO_MODEL:
        with _scratch_store():
            yield estimate_train_model(read_recipe(model.recipe, model.override), model, known)
    judging = Judging(sections["evaluate"], head, featurize, known.images, variants)
    yield estimate_evaluate(judging, heads)
    yield Estimate("report", images, 0, REPORT_SECONDS, 1e6)


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


@contextmanager
def _scratch_store() -> Iterator[None]:
    """Trainings that are begun only to be timed leave their checkpoints here."""
    before = os.environ.get(STORE_VARIABLE)
    with tempfile.TemporaryDirectory() as folder:
        os.environ[STORE_VARIABLE] = folder
        try:
            yield
        finally:
            os.environ.pop(STORE_VARIABLE)
            os.environ.update({} if before is None else {STORE_VARIABLE: before})
