"""A staged schedule: phases in order, each some epochs on one variant (report 001), or on several mixed."""

import re
from collections.abc import Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass, replace
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, PlainSerializer

from pipeline.config.shared.variants import GAN_PREFIX, variant_order

ALL = "all"  # stands for every variant of photos that there is, mixed
MIXED = " | "
NAME = "[a-z][a-z0-9_]*"
COUNT = "[1-9][0-9]*"
PHASE = re.compile(
    rf"(?P<variants>{NAME}(?:\s*\|\s*{NAME})*) x (?P<count>{COUNT})(?P<images> images(?: or (?P<least>{COUNT}))?)?"
)


@dataclass(frozen=True)
class Phase:
    """Train `epochs` epochs on one variant, such as `spatial_1`, or on several mixed, `unaugmented | spatial_1`.

    In a mixed phase an epoch holds each image once, in one of the variants, and in the next one in the next epoch.
    images: how many images are seen, if that is given instead of epochs, which are then the least number of them until
    the set is known: `all x 8000 images or 3` is 8,000 images, or three epochs if those are more.
    """

    variant: str
    epochs: int
    images: int | None = None

    @property
    def variants(self) -> tuple[str, ...]:
        """The names of the variants that an epoch draws from."""
        return tuple(self.variant.split(MIXED))

    def __str__(self) -> str:
        if self.images is None:
            return f"{self.variant} x {self.epochs}"
        return f"{self.variant} x {self.images} images" + (f" or {self.epochs}" if self.epochs > 1 else "")


def _read_phase(value: Any) -> Phase:
    if isinstance(value, Phase):
        return value
    match = PHASE.fullmatch(str(value).strip())
    if match is None:
        raise ValueError("a phase is `<variant> x <epochs>`, such as `spatial_1 x 2` or `unaugmented | spatial_1 x 2`")
    count = int(match["count"])
    names = [name.strip() for name in match["variants"].split("|")]
    if len(set(names)) < len(names):
        raise ValueError("a phase names a variant twice")
    if len(names) > 1 and any(name == ALL or name.startswith(GAN_PREFIX) for name in names):
        raise ValueError(f"`{ALL}` and GAN samples cannot be mixed with other variants")
    if match["images"]:
        return Phase(MIXED.join(names), int(match["least"] or 1), count)
    return Phase(MIXED.join(names), count)


PhaseField = Annotated[Phase, BeforeValidator(_read_phase), PlainSerializer(str)]
Schedule = Annotated[list[PhaseField], Field(min_length=1)]


def epochs_of(schedule: list[Phase]) -> Iterator[str]:
    """The variant of each epoch in turn."""
    return (phase.variant for phase in schedule for _ in range(phase.epochs))


def variants_of(schedule: list[Phase]) -> set[str]:
    """Every variant that a schedule draws from."""
    return {variant for phase in schedule for variant in phase.variants}


def settled(schedule: Sequence[Phase], sets: Mapping[str, Sized]) -> list[Phase]:
    """The schedule for the sets that there are, by variant.

    `all` becomes those of photos; a length in images becomes the nearest number of whole epochs, or the least one.
    """
    photos = [variant for variant in sets if not variant.startswith(GAN_PREFIX)]
    everything = MIXED.join(sorted(photos, key=variant_order))
    named = [replace(phase, variant=everything) if phase.variant == ALL else phase for phase in schedule]
    return [_in_epochs(phase, len(sets.get(phase.variants[0], ()))) for phase in named]


def images_trained(schedule: Sequence[Phase], sizes: Mapping[str, Sized]) -> int:
    """How many images a training sees, over all epochs. sizes: the sets of train by variant."""
    return sum(phase.epochs * len(sizes.get(phase.variants[0], ())) for phase in settled(schedule, sizes))


def _in_epochs(phase: Phase, size: int) -> Phase:
    if phase.images is None:
        return phase
    return Phase(phase.variant, max(phase.epochs, round(phase.images / max(size, 1))))
