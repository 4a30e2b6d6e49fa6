"""What the user has decided, and what start chooses."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Wishes:
    """What the user has decided; None is left to choice. limit: training images per class."""

    val: Any = None
    test: Any = None
    size: int | None = None
    fit: str | None = None
    backbone: str | None = None
    weights: str | None = None
    variants: tuple[str, ...] | None = None
    flips: bool | None = None
    finetune: bool | None = None
    device: str | None = None
    attacks: bool = False
    limit: int | None = None


@dataclass(frozen=True)
class Choice:
    """subject, value and reason are for the terminal; changes: values of params.yaml by `section.key`."""

    subject: str
    value: str
    reason: str
    changes: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.subject:<12}{self.value}: {self.reason}"
