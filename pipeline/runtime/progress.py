"""How long work tells how far it is, whoever shows it."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

# How a total, a unit and a label become a function that advances a progress bar.
Progress = Callable[[int, str, str], AbstractContextManager[Callable[[int], object]]]


@contextmanager
def silent(total: int, unit: str, label: str) -> Iterator[Callable[[int], object]]:
    """A progress that shows nothing."""
    yield lambda count: None
