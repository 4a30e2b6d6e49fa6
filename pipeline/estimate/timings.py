"""How long each stage will take and what it will fill, from a short calibration on this machine.

Every figure is a time of the stage's own code over a few of the user's images, times what there is to do.
"""

import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch

from cache.layout import Array
from cache.records import UNAUGMENTED, ImageSet
from pipeline.augmentation.augment import IDENTITY_BYTES
from pipeline.augmentation.keep import Keep
from pipeline.augmentation.policy import make_augmentation
from pipeline.config.augment import AugmentConfig
from pipeline.config.gan import GanConfig
from pipeline.config.params import Params
from pipeline.config.recipe import Recipe
from pipeline.config.shared.featurize import LAST, FeaturizeConfig
from pipeline.config.shared.schedule import Phase, images_trained
from pipeline.config.shared.stages import AUGMENT, FEATURIZE, GAN, PREPARE, TRAIN_MODEL
from pipeline.estimate.survey import Survey
from pipeline.features.backbone import make_backbone
from pipeline.features.featurizer import Featurizer
from pipeline.gan.fit import train_gan
from pipeline.runtime.threads import usable_threads
from pipeline.runtime.workers import STARTUP_SECONDS, Pool
from pipeline.training.fit import fit_model
from pipeline.training.start import Start, linear_head, start_from_head

PROCESS_BYTES = 280e6  # of one of augment's own
COUNTING = """
import sys, time
start, count = float(sys.argv[1]), 0
time.sleep(max(0.0, start - time.time()))
while time.time() < start + 0.5:
    count += sum(range(500)) > 0
print(count)
"""
WRITTEN = 400e6  # bytes a second that a disk takes at least, checksums included


@dataclass(frozen=True)
class Estimate:
    """Of one stage: what it makes, how much of that is there already, and seconds and bytes for the rest.

    note: what else should be known, empty if nothing.
    """

    stage: str
    rows: int
    cached: int
    seconds: float
    disk: float
    memory: float = 0.0
    note: str = ""


def estimate_prepare(known: Survey, size: int, cores: int) -> Estimate:
    """Two walks over the source, decoding in threads, and a spool beside the sets."""
    pixels = sum(known.rows.values()) * size * size * 3
    seconds = 2 * known.list_seconds + known.total * known.decode_seconds / worth_of(cores) + 2 * pixels / WRITTEN
    return Estimate(PREPARE, sum(known.rows.values()), 0, seconds, pixels, note=known.unreadable_line)


def estimate_augment(config: AugmentConfig, known: Survey, kept: Mapping[str, int], keep: Keep) -> Estimate:
    """kept: rows of each file that an earlier run left as they are wanted."""
    total = len(config.variants) * sum(known.rows.values())
    missing = {
        variant: sum(max(0, rows - kept.get(f"{split}-{variant}", 0)) for split, rows in known.rows.items())
        for variant in config.variants
    }
    cached = total - sum(missing.values())
    if keep.choice == "nothing":
        return Estimate(AUGMENT, total, cached, 0.0, (total - cached) * IDENTITY_BYTES)
    work = sum(count * draw_seconds(config, variant, known) for variant, count in missing.items())
    pixels = (total - cached) * config.size**2 * 3
    memory = PROCESS_BYTES * Pool(config.workers).processes if work > STARTUP_SECONDS else 0.0
    return Estimate(AUGMENT, total, cached, pool_seconds(work, config) + 2 * pixels / WRITTEN, pixels, memory)


def draw_seconds(config: AugmentConfig, variant: str, known: Survey) -> float:
    """Of one image, by one core."""
    augmentation = make_augmentation(config, variant)
    return timed(lambda: augmentation(known.images, known.ids)) / len(known.images)


def drawing_beside(config: AugmentConfig, known: Survey, rows: int) -> float:
    """Seconds that featurize draws so many rows in, evenly of all variants, beside the network and on its cores."""
    if not config.variants or not rows:
        return 0.0
    per_image = sum(draw_seconds(config, variant, known) for variant in config.variants) / len(config.variants)
    return rows * per_image / worth_of(usable_threads())


def pool_seconds(work: float, config: AugmentConfig) -> float:
    """Of work that one process does in this time, by the rule of `Pool`: others are started once it pays."""
    processes = Pool(config.workers).processes
    alone = work if processes == 1 else min(work, STARTUP_SECONDS)
    return alone + (STARTUP_SECONDS + (work - alone) / worth_of(processes) if work > alone else 0.0)


@cache
def worth_of(processes: int) -> float:
    """The work of so many processes side by side, in that of one alone: cores that share a unit do less than two."""

    def counted(count: int) -> int:
        command = [sys.executable, "-c", COUNTING, str(time.time() + 0.2 + 0.01 * count)]
        running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(count)]  # noqa: S603
        return sum(int(per_image.communicate()[0]) for per_image in running)

    return 1.0 if processes == 1 else max(1.0, counted(processes) / counted(1))


def estimate_gan(config: GanConfig, known: Survey) -> Estimate:
    """A few iterations against a few more, of as many classes as are trained at once."""
    own = config.wgan if config.kind == "wgan" else config.conv
    classes = min(known.classes, config.wgan.classes_at_once) if config.kind == "wgan" else known.classes
    labels = np.sort(np.arange(max(len(known.images), 2 * classes)) % classes)
    rows = known.images[np.arange(len(labels)) % len(known.images)]
    images = ImageSet(
        rows, labels, np.array([b"%064x" % number for number in labels]), class_names(classes), UNAUGMENTED
    )

    def train(iterations: int) -> float:
        short = {config.kind: own.model_copy(update={"iterations": iterations}), "samples": 2}
        return timed(lambda: train_gan(images, config.model_copy(update=short), lambda count: None), warm=False)

    few = train(2)
    more = train(6)
    chunks = -(-known.classes // classes)
    samples = known.classes * config.samples
    seconds = chunks * max(0.0, more - few) / 4 * own.iterations
    return Estimate(GAN, samples, 0, seconds, samples * known.images[0].nbytes)


def estimate_featurize(featurizer: Featurizer, rows: int, cached: int, images: Array) -> Estimate:
    """The first call starts the engine, the second shows its rate."""
    config = featurizer.config
    count = config.batch * torch.get_num_threads()
    block = images[np.arange(count) % len(images)]
    keys = np.zeros(count, dtype="S64")
    first = timed(lambda: featurizer(block, keys), warm=False)
    again = timed(lambda: featurizer(block, keys), warm=False)
    seconds = max(0.0, first - again) + (rows - cached) * again / count
    disk = (2 * rows - cached) * width_of(featurizer, images) * np.dtype(config.dtype).itemsize  # store and output
    return Estimate(FEATURIZE, rows, cached, seconds, disk)


def width_of(featurizer: Featurizer, images: Array) -> int:
    """Numbers in a row of features."""
    return len(featurizer(images[:1], np.zeros(1, dtype="S64"))[0])


def estimate_train_model(recipe: Recipe, params: Params, known: Survey) -> Estimate:
    """Two batches against six. A fine-tuned network starts from its backbone and a head that knows nothing."""
    config = params.train_model
    start = _start(params.featurize, known.classes) if recipe.fine_tunes else None

    def train(batches: int) -> float:
        count = batches * recipe.batch
        rows = known.images[np.arange(count) % len(known.images)]
        ids = np.array([b"%064x" % number for number in range(count)])
        labels = np.arange(count) % known.classes
        images = ImageSet(rows, labels, ids, class_names(known.classes), UNAUGMENTED)
        short = recipe.model_copy(update={"schedule": [Phase(UNAUGMENTED, 1)]})
        single = config.model_copy(update={"seeds": 1, "checkpoint_seconds": 1e9})
        return timed(lambda: list(fit_model({UNAUGMENTED: images}, {}, short, single, start=start)), warm=False)

    few = train(2)
    more = train(6)
    step = max(0.0, more - few) / (4 * recipe.batch)
    train_rows = range(known.rows["train"])
    rows = config.seeds * images_trained(recipe.schedule, {UNAUGMENTED: train_rows})
    looked = rows / len(train_rows) * known.rows.get("val", 0)
    memory = sum(known.rows.values()) * known.images[0].nbytes
    return Estimate(TRAIN_MODEL, rows, 0, (rows + looked / 3) * step, 0, memory)


def _start(config: FeaturizeConfig, classes: int) -> Start:
    """The backbone under a head of its last layer that knows nothing yet: it is as fast as a trained one."""
    config = config.model_copy(update={"layers": LAST})
    backbone = make_backbone(*config.backbone_arguments)
    return start_from_head(linear_head(backbone.network, classes, config.size), config)


def timed(work: Callable[[], Any], warm: bool = True) -> float:
    """Seconds of a call; warm: of a second one."""
    if warm:
        work()
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def class_names(classes: int) -> tuple[str, ...]:
    """As many as a set needs."""
    return tuple(f"class {number}" for number in range(classes))
