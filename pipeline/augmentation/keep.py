"""Whether a variant's pixels are kept on disk, or drawn again whenever they are read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from cache.records import UNAUGMENTED
from pipeline.augmentation.policy import Augmentation
from pipeline.config.augment import AugmentConfig
from pipeline.config.shared.schedule import Phase, settled
from pipeline.runtime.threads import usable_threads

# Measured on one core of a Xeon with AVX-512, the mean of report 001's two policies: seconds per image and per pixel.
DRAW_SECONDS = {"fused": (0.6e-3, 15e-9), "imgaug": (3.3e-3, 45e-9)}
WRITTEN = 120e6  # bytes of images per second that one process writes with their checksums (docs/scale.md)
DISK_SHARE = 0.5  # of the free disk that kept pixels may take


@dataclass(frozen=True)
class ModelReading:
    """How a full model reads the variants. schedule: of its training, empty if none is trained.

    memory: bytes of images that training holds; what is larger is read again in every epoch.
    """

    schedule: Sequence[Phase]
    trainings: int
    memory: float


@dataclass(frozen=True)
class Keep:
    """What is kept of variants, and the line that says why; empty if params.yaml says what is kept."""

    choice: Literal["pixels", "nothing"]
    reason: str = ""

    @property
    def is_auto(self) -> bool:
        """Whether params.yaml leaves it open."""
        return bool(self.reason)

    def summary(self, rows: int, files: int, computed: int) -> str:
        """What a run has made, on one line."""
        if self.choice == "nothing":
            return f"{rows:,} images in {files} files without pixels, to be drawn as they are read"
        return f"{rows:,} images in {files} files, {computed:,} computed, {rows - computed:,} kept"


def choose_keep(
    config: AugmentConfig,
    augmentations: Sequence[Augmentation],
    rows: Mapping[str, int],
    reading: ModelReading,
    free_bytes: float,
) -> Keep:
    """What `augment.keep` says; `auto` compares the time of drawing again with that of writing, and the disk.

    rows: images of each split. The rule uses fixed rates, so one machine decides alike every time.
    """
    if config.keep != "auto":
        return Keep(config.keep)
    if not reading.schedule:
        return Keep("nothing", "no pixels are kept, because only heads are trained; rows are drawn as they are read")
    image_bytes = config.size**2 * 3
    disk = sum(rows.values()) * len(augmentations) * image_bytes
    again = _drawn_again(augmentations, rows, reading, image_bytes) / usable_threads()
    written = disk / WRITTEN
    figures = f"{disk / 1e9:,.1f} GB, {written / 60:,.0f} min to write, {again / 60:,.0f} min to draw again"
    if disk > DISK_SHARE * free_bytes:
        return Keep("nothing", f"no pixels are kept, because they would fill the disk ({figures})")
    if again <= written:
        return Keep("nothing", f"no pixels are kept, because drawing again is the faster way ({figures})")
    return Keep("pixels", f"pixels are kept, because drawing again is the slower way ({figures})")


def _drawn_again(
    augmentations: Sequence[Augmentation], rows: Mapping[str, int], reading: ModelReading, image_bytes: int
) -> float:
    """Seconds of one core in which training and evaluating a full model draw rows that featurize has drawn too."""
    if not augmentations:
        return 0.0
    names = {augmentation.variant for augmentation in augmentations}
    train = rows.get("train", 0)
    drawn = float(rows.get("test", 0) * len(names))
    for phase in settled(reading.schedule, dict.fromkeys((UNAUGMENTED, *names), range(train))):
        shown = names & set(phase.variants)
        of = len(phase.variants)
        in_memory = of * train * image_bytes <= reading.memory
        drawn += reading.trainings * train * (len(shown) if in_memory else phase.epochs * len(shown) / of)
    costs = [DRAW_SECONDS[augmentation.engine] for augmentation in augmentations]
    per_image = sum(start + per_pixel * augmentations[0].size ** 2 for start, per_pixel in costs) / len(costs)
    return drawn * per_image
