"""A piece of work that any process may do."""

from contextvars import ContextVar
from typing import Any, Protocol, TypeVar

R_co = TypeVar("R_co", covariant=True)


class Task(Protocol[R_co]):
    """Work in three steps, each given what the step before it returned; the second one needs the processor."""

    def read(self) -> Any: ...

    def compute(self, given: Any, /) -> Any: ...

    def write(self, computed: Any, /) -> R_co: ...


_is_worker: ContextVar[bool] = ContextVar("in a worker process", default=False)


def run_task(task: Task[R_co]) -> R_co:
    """All three steps, one after the other, in a process beside others that do the same."""
    token = _is_worker.set(True)
    try:
        return task.write(task.compute(task.read()))
    finally:
        _is_worker.reset(token)


def is_worker() -> bool:
    """Whether this thread runs a task beside others, so that the other cores are theirs."""
    return _is_worker.get()
