"""Run many picklable tasks: in this process, in local processes, or on a dask cluster.

The only module that imports dask. Tasks say where their results go, so it does not matter who runs which.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from types import TracebackType
from typing import Any, Protocol, TypeVar

from joblib import cpu_count

from cache.errors import InputError, StorageError
from pipeline.config.shared.section import Workers

R_co = TypeVar("R_co", covariant=True)

STARTUP_SECONDS = 6.0  # of a local cluster and of its workers' imports
RETRIES = 3  # of a task whose worker died
CONNECT_SECONDS = 10
RECONNECT_SECONDS = 60  # how long a scheduler may be away while work is left


class Task(Protocol[R_co]):
    """Work in three steps, each given what the one before it made; the second is the one that needs the processor."""

    def read(self) -> Any: ...

    def compute(self, given: Any, /) -> Any: ...

    def write(self, made: Any, /) -> R_co: ...


def _whole(task: Task[R_co]) -> R_co:
    return task.write(task.compute(task.read()))


class Pool:
    """Local processes (`auto`: one a core), or a running dask cluster at the address of its scheduler.

    Local processes are started once, and only after this process has worked as long as their start-up takes: small
    work never pays for them, large work loses little by it.
    """

    def __init__(self, workers: Workers = 1, scheduler: str | None = None) -> None:
        self.processes = cpu_count() if workers == "auto" else workers
        self.scheduler = scheduler
        self._alone = 0.0  # seconds of work done in this process
        self._client: Any = None
        self._cluster: Any = None

    def __enter__(self) -> "Pool":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop our own processes; leave a foreign cluster running."""
        for opened in (self._client, self._cluster):
            if opened is not None:
                opened.close()
        self._client = self._cluster = None

    def run(self, tasks: Sequence[Task[R_co]]) -> Iterator[R_co]:
        """Results as they come, in any order. Raises what a task raises; InputError where no scheduler answers."""
        remaining = list(tasks)
        if not self._wants_processes():
            yield from self._run_here(remaining)
        if remaining:
            yield from self._run_on_cluster(remaining)

    def _run_here(self, remaining: list[Task[R_co]]) -> Iterator[R_co]:
        """Take tasks until processes are worth their start; while one computes, threads read the next, write the last.

        Only this thread computes, so an interrupt waits for no more than a read and a write. The first result is given
        before the second task computes: it shows what a part takes, and that it can be written at all.
        """
        written: list[Future[R_co]] = []
        first = True
        with ThreadPoolExecutor(2) as threads:
            ahead = [threads.submit(task.read) for task in remaining[:1]]
            while remaining and not self._wants_processes():
                started = time.perf_counter()
                task, given = remaining.pop(0), ahead.pop().result()
                ahead = [threads.submit(task.read) for task in remaining[:1]]
                made = task.compute(given)
                self._alone += time.perf_counter() - started
                yield from (last.result() for last in written)
                written = [threads.submit(task.write, made)]
                if first:
                    first = False
                    yield written.pop().result()
            yield from (last.result() for last in written)

    def _wants_processes(self) -> bool:
        return self.scheduler is not None or (self.processes > 1 and self._alone > STARTUP_SECONDS)

    def _run_on_cluster(self, tasks: Sequence[Task[R_co]]) -> Iterator[R_co]:
        from concurrent.futures import CancelledError

        from distributed import KilledWorker
        from distributed.comm.core import CommClosedError

        remaining = dict(enumerate(tasks))
        self._connect(CONNECT_SECONDS)
        while remaining:
            try:
                for number, result in self._gather(remaining):
                    del remaining[number]
                    yield result
            except KilledWorker as error:
                remedy = "Look at the workers' logs (too little memory?), then run the same command again."
                raise StorageError("workers died again and again on one task", remedy=remedy) from error
            except (CancelledError, CommClosedError) as error:
                self._reconnect(error)

    def _gather(self, tasks: Mapping[int, Task[R_co]]) -> Iterator[tuple[int, R_co]]:
        """Results by the number of their task. Raises CancelledError or CommClosedError where the scheduler is lost."""
        from concurrent.futures import CancelledError

        from distributed import as_completed

        futures = self._client.map(_whole, list(tasks.values()), pure=False)
        numbers = dict(zip((future.key for future in futures), tasks, strict=True))
        try:
            for future, result in as_completed(futures, with_results=True):
                if isinstance(result, CancelledError):  # given, not raised, where the scheduler is lost
                    raise result
                yield numbers[future.key], result
        finally:
            self._client.cancel(futures)

    def _connect(self, seconds: float) -> None:
        """Have a client, of local processes or of the scheduler. Raises InputError where none answers in time."""
        import dask
        from distributed import Client, LocalCluster

        if self._client is not None:
            return
        dask.config.set({"distributed.scheduler.allowed-failures": RETRIES})
        if self.scheduler is None:
            local = {"host": "127.0.0.1", "dashboard_address": "127.0.0.1:0"}
            self._cluster = LocalCluster(
                n_workers=self.processes, threads_per_worker=1, memory_limit=0, silence_logs=40, **local
            )
        try:
            self._client = Client(self._cluster or self.scheduler, timeout=seconds)
        except (OSError, ValueError) as error:
            remedy = "Start it (dask scheduler), or set the scheduler to null for local processes."
            raise InputError("no dask scheduler answers", where=self.scheduler, remedy=remedy) from error

    def _reconnect(self, lost: BaseException) -> None:
        """Wait for a scheduler that was lost to be started again. Raises StorageError where it is not."""
        with suppress(OSError, TimeoutError, type(lost)):  # its scheduler is gone
            self._client.close(timeout=1)
        self._client = None
        try:
            if self.scheduler is None:
                raise lost
            self._connect(RECONNECT_SECONDS)
        except (InputError, type(lost)) as error:
            remedy = "Start it again and run the same command again: finished parts are kept."
            raise StorageError("the dask scheduler went away", where=self.scheduler, remedy=remedy) from error
