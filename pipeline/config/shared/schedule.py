"""A staged schedule: phases in order, each some epochs on one variant (report 001), or on several mixed."""

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, PlainSerializer

from pipeline.config.shared.variants import GAN_PREFIX, variant_order

ALL = "all"  # stands for every variant of photos that there is, mixed
MIXED = " | "
NAME = "[a-z][a-z0-9_]*"
PHASE = re.compile(rf"(?P<variants>{NAME}(?:\s*\|\s*{NAME})*) x (?P<epochs>[1-9][0-9]*)")


@dataclass(frozen=True)
class Phase:
    """Train `epochs` epochs on one variant, such as `spatial_1`, or on several mixed, `unaugmented | spatial_1`.

    In a mixed phase an epoch holds each image once, in one of the variants, and in the next one in the next epoch.
    """

    variant: str
    epochs: int

    @property
    def variants(self) -> tuple[str, ...]:
        """The names of the variants that an epoch draws from."""
        return tuple(self.variant.split(MIXED))

    def __str__(self) -> str:
        return f"{self.variant} x {self.epochs}"


def _read_phase(value: Any) -> Phase:
    if isinstance(value, Phase):
        return value
    match = PHASE.fullmatch(str(value).strip())
    if match is None:
        raise ValueError("a phase is `<variant> x <epochs>`, such as `spatial_1 x 2` or `unaugmented | spatial_1 x 2`")
    names = [name.strip() for name in match["variants"].split("|")]
    if len(set(names)) < len(names):
        raise ValueError("a phase names a variant twice")
    if len(names) > 1 and any(name == ALL or name.startswith(GAN_PREFIX) for name in names):
        raise ValueError(f"`{ALL}` and GAN samples cannot be mixed with other variants")
    return Phase(MIXED.join(names), int(match["epochs"]))


PhaseField = Annotated[Phase, BeforeValidator(_read_phase), PlainSerializer(str)]
Schedule = Annotated[list[PhaseField], Field(min_length=1)]


def epochs_of(schedule: list[Phase]) -> Iterator[str]:
    """The variant of each epoch in turn."""
    return (phase.variant for phase in schedule for _ in range(phase.epochs))


def variants_of(schedule: list[Phase]) -> set[str]:
    """Every variant that a schedule draws from."""
    return {variant for phase in schedule for variant in phase.variants}


def with_all_named(schedule: list[Phase], variants: Collection[str]) -> list[Phase]:
    """The schedule with `all` replaced by those of the variants that are of photos."""
    photos = [variant for variant in variants if not variant.startswith(GAN_PREFIX)]
    everything = MIXED.join(sorted(photos, key=variant_order))
    return [replace(phase, variant=everything) if phase.variant == ALL else phase for phase in schedule]
