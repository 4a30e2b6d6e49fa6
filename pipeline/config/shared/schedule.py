"""A staged schedule: phases in order, each some epochs on one variant (report 001)."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, PlainSerializer

PHASE = re.compile(r"(?P<variant>[a-z][a-z0-9_]*) x (?P<epochs>[1-9][0-9]*)")


@dataclass(frozen=True)
class Phase:
    """Train `epochs` epochs on one variant."""

    variant: str
    epochs: int

    def __str__(self) -> str:
        return f"{self.variant} x {self.epochs}"


def _read_phase(value: Any) -> Phase:
    if isinstance(value, Phase):
        return value
    match = PHASE.fullmatch(str(value).strip())
    if match is None:
        raise ValueError("a phase is `<variant> x <epochs>`, such as `spatial_1 x 2`")
    return Phase(match["variant"], int(match["epochs"]))


PhaseField = Annotated[Phase, BeforeValidator(_read_phase), PlainSerializer(str)]
Schedule = Annotated[list[PhaseField], Field(min_length=1)]


def epochs_of(schedule: list[Phase]) -> Iterator[str]:
    """The variant of each epoch in turn."""
    return (phase.variant for phase in schedule for _ in range(phase.epochs))
