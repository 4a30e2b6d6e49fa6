"""A piece of work that any process may do."""

from typing import Any, Protocol, TypeVar

R_co = TypeVar("R_co", covariant=True)


class Task(Protocol[R_co]):
    """Work in three steps, each given what the step before it returned; the second one needs the processor."""

    def read(self) -> Any: ...

    def compute(self, given: Any, /) -> Any: ...

    def write(self, computed: Any, /) -> R_co: ...


def run_task(task: Task[R_co]) -> R_co:
    """All three steps, one after the other."""
    return task.write(task.compute(task.read()))
