"""How long work tells how far it is, whoever shows it."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

# How a total, a unit and a label become a function that advances a progress bar.
Progress = Callable[[int, str, str], AbstractContextManager[Callable[[int], object]]]


@dataclass(frozen=True)
class Watch:
    """Who is told of a training: `advance` of rows or images seen, `log` of each row of its curves as it comes."""

    advance: Callable[[int], object] = lambda count: None
    log: Callable[[Mapping[str, Any]], object] = lambda curve: None


SILENT = Watch()


@contextmanager
def silent(total: int, unit: str, label: str) -> Iterator[Callable[[int], object]]:
    """A progress that shows nothing."""
    yield lambda count: None
