"""Numbers as a policy writes them (a number, a range `[low, high]` or `{choice: [...]}`), and draws from them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from pydantic import BeforeValidator, Field


@dataclass(frozen=True)
class Draw:
    """A number that is drawn anew for each image: uniform between two ends, or one of several options."""

    low: float
    high: float
    options: tuple[float, ...] = ()
    is_whole: bool = False

    def __call__(self, random: np.random.Generator) -> float:
        if self.options:
            return self.options[int(random.random() * len(self.options))]
        if self.low == self.high:
            return self.low
        if self.is_whole:
            return self.low + int(random.random() * (self.high - self.low + 1))
        return self.low + (self.high - self.low) * random.random()

    @property
    def lowest(self) -> float:
        """The least that can be drawn."""
        return min(self.options or (self.low,))

    def negated(self) -> "Draw":
        """The same with the other sign."""
        return Draw(-self.high, -self.low, tuple(-option for option in self.options), self.is_whole)


def _parser(is_whole: bool, low: float, high: float) -> Callable[[Any], Draw]:
    """A function from YAML values to draws; it raises ValueError for what is no number, or out of bounds."""

    def parse(value: Any) -> Draw:
        if isinstance(value, Draw):
            return value
        options = value["choice"] if isinstance(value, dict) and set(value) == {"choice"} else ()
        ends = [value] if isinstance(value, int | float) else value
        numbers = list(options or ends) if isinstance(options or ends, list | tuple) else []
        kinds = int if is_whole else int | float
        if not numbers or not all(isinstance(number, kinds) and low <= number <= high for number in numbers):
            kind = "whole number" if is_whole else "number"
            raise ValueError(f"must be a {kind} from {low:g} to {high:g}, [low, high], or {{choice: [...]}} of such")
        if options:
            return Draw(0.0, 0.0, tuple(numbers), is_whole)
        if len(numbers) > 2:
            raise ValueError("must be a number, [low, high], or {choice: [...]}")
        return Draw(min(numbers), max(numbers), (), is_whole)

    return parse


INFINITE = float("inf")
Real = Annotated[Draw, BeforeValidator(_parser(False, -INFINITE, INFINITE))]
NotNegative = Annotated[Draw, BeforeValidator(_parser(False, 0.0, INFINITE))]
Positive = Annotated[Draw, BeforeValidator(_parser(False, 1e-4, INFINITE))]
Unit = Annotated[Draw, BeforeValidator(_parser(False, 0.0, 1.0))]
Percent = Annotated[Draw, BeforeValidator(_parser(False, 0.0, 100.0))]
Whole = Annotated[Draw, BeforeValidator(_parser(True, -INFINITE, INFINITE))]
Count = Annotated[Draw, BeforeValidator(_parser(True, 0, INFINITE))]
WholeBits = Annotated[Draw, BeforeValidator(_parser(True, 1, 8))]
Size = Annotated[Draw, BeforeValidator(_parser(False, 0, 1.0001))]
Odd = Annotated[Draw, BeforeValidator(_parser(True, 3, INFINITE))]
PositiveCount = Annotated[Draw, BeforeValidator(_parser(True, 1, INFINITE))]
Direction = Annotated[Draw, BeforeValidator(_parser(False, -1, 1))]
SignedLevel = Annotated[Draw, BeforeValidator(_parser(True, -255, 255))]
Probability = Annotated[float, Field(ge=0, le=1)]  # of imgaug's switches: true and false are 1 and 0


@dataclass(frozen=True)
class Axes:
    """A number for each axis; `down` is None if one draw serves both."""

    across: Draw
    down: Draw | None

    def __call__(self, random: np.random.Generator) -> tuple[float, float]:
        across = self.across(random)
        return across, across if self.down is None else self.down(random)


def _axes_parser(parse: Callable[[Any], Draw], absent: float) -> Callable[[Any], Axes]:
    """A function from `{x: ..., y: ...}`, or one value for both, to draws."""

    def parse_axes(value: Any) -> Axes:
        if isinstance(value, Axes):
            return value
        if isinstance(value, dict) and value and set(value) <= {"x", "y"}:
            return Axes(parse(value.get("x", absent)), parse(value.get("y", absent)))
        return Axes(parse(value), None)

    return parse_axes


def _parse_shear(value: Any) -> Axes:
    """imgaug shears across by a single number, but across and down by a range."""
    axes = _axes_parser(_parser(False, -INFINITE, INFINITE), 0)(value)
    return Axes(axes.across, Draw(0, 0)) if isinstance(value, int | float) else axes


Scales = Annotated[Axes, BeforeValidator(_axes_parser(_parser(False, 1e-4, INFINITE), 1))]
Shares = Annotated[Axes, BeforeValidator(_axes_parser(_parser(False, -INFINITE, INFINITE), 0))]
Shifts = Annotated[Axes, BeforeValidator(_axes_parser(_parser(True, -INFINITE, INFINITE), 0))]
Shears = Annotated[Axes, BeforeValidator(_parse_shear)]


@dataclass(frozen=True)
class Sides:
    """Numbers for the top, right, bottom and left of an image."""

    top: Draw
    right: Draw
    bottom: Draw
    left: Draw

    @property
    def lowest(self) -> float:
        """The least that can be drawn for any side."""
        return min(side.lowest for side in (self.top, self.right, self.bottom, self.left))

    def negated(self) -> "Sides":
        """The same with the other sign."""
        return Sides(self.top.negated(), self.right.negated(), self.bottom.negated(), self.left.negated())


SIDES = ("top", "right", "bottom", "left")


def _sides_parser(parse: Callable[[Any], Draw]) -> Callable[[Any], Draw | Sides]:
    """A function from `{top: ..., right: ..., bottom: ..., left: ...}`, or one value for all sides, to draws."""

    def parse_sides(value: Any) -> Draw | Sides:
        if isinstance(value, Sides):
            return value
        if isinstance(value, dict) and set(value) == set(SIDES):
            return Sides(*(parse(value[side]) for side in SIDES))
        return parse(value)

    return parse_sides


Paddings = Annotated[Draw | Sides, BeforeValidator(_sides_parser(_parser(False, -0.9999, INFINITE)))]
WholePaddings = Annotated[Draw | Sides, BeforeValidator(_sides_parser(_parser(True, -INFINITE, INFINITE)))]


def _parse_length(value: Any) -> Draw:
    """Whole numbers are pixels, others are shares of the length that it is."""
    numbers = value.get("choice") if isinstance(value, dict) else value
    is_whole = all(isinstance(number, int) for number in (numbers if isinstance(numbers, list) else [numbers]))
    length = _parser(is_whole, 1e-4, INFINITE)(value)
    if length.options and not is_whole and any(isinstance(option, int) for option in length.options):
        raise ValueError("must be a choice among pixels or among shares, not among both")
    return length


Length = Annotated[Draw, BeforeValidator(_parse_length)]


def words(value: Any) -> tuple[str, ...]:
    """A word, a list of words or `{choice: [...]}` of words, each as likely."""
    if isinstance(value, dict) and set(value) == {"choice"}:
        value = value["choice"]
    return (value,) if isinstance(value, str) else tuple(value)


def one_of(options: tuple[str, ...], random: np.random.Generator) -> str:
    """One of several words; nothing is drawn if there is only one."""
    return options[0] if len(options) == 1 else options[int(random.random() * len(options))]
