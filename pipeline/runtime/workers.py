"""Run many picklable tasks: in this process, in processes of this machine, or on a dask cluster.

The only module that imports dask. Tasks say where their results go, so it does not matter who runs which.
"""

import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import suppress
from types import TracebackType
from typing import Any

from cache.errors import InputError, StorageError
from pipeline.config.shared.section import Workers
from pipeline.runtime.processes import run_in_processes, stop_processes
from pipeline.runtime.task import R_co, Task, run_task
from pipeline.runtime.threads import usable_threads

STARTUP_SECONDS = 6.0  # of local processes and their imports
CONNECT_SECONDS = 10
RECONNECT_SECONDS = 60  # how long a scheduler may be away while work is left
LOOK_SECONDS = 5  # without a result, until workers are counted
WORKER_SECONDS = 20  # how long a scheduler may have no worker


class Pool:
    """Local processes (`auto`: one per usable processor), or a running dask cluster at its scheduler's address.

    Local processes are started once, and only after this process has worked as long as their start-up takes: small
    work never pays for them, large work loses little by it.
    """

    def __init__(self, workers: Workers = 1, scheduler: str | None = None) -> None:
        self.processes = usable_threads() if workers == "auto" else workers
        self.scheduler = scheduler
        self.started_processes = False
        self._alone = 0.0  # seconds of work done in this process
        self._client: Any = None

    def __enter__(self) -> "Pool":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop our own processes; leave a foreign cluster running."""
        if self._client is not None:
            self._client.close()
            self._client = None
        if self.started_processes:
            stop_processes()
            self.started_processes = False

    def run(self, tasks: Sequence[Task[R_co]]) -> Iterator[R_co]:
        """Results as they come, in any order.

        Raises what a task raises; InputError if no scheduler answers or it has no workers; StorageError if workers die.
        """
        begun = 0
        if not self._wants_processes():
            begun = yield from self._run_here(tasks)
        rest = tasks[begun:]
        if rest and self.scheduler is not None:
            yield from self._run_on_cluster(rest)
        elif rest:
            self.started_processes = True
            yield from run_in_processes(rest, self.processes)

    def _run_here(self, tasks: Sequence[Task[R_co]]) -> Generator[R_co, None, int]:
        """Take tasks until processes are worth their start; while one computes, threads read the next, write the last.

        Only this thread computes, so an interrupt waits for no more than a read and a write. The first result is given
        before the second task computes: it shows what a part takes, and that it can be written at all. Returns how many
        tasks were done.
        """
        written: list[Future[R_co]] = []
        begun = 0
        with ThreadPoolExecutor(2) as threads:
            ahead = [threads.submit(task.read) for task in tasks[:1]]
            while begun < len(tasks) and not self._wants_processes():
                started = time.perf_counter()
                task = tasks[begun]
                given = ahead.pop().result()
                begun += 1
                ahead = [threads.submit(following.read) for following in tasks[begun : begun + 1]]
                computed = task.compute(given)
                self._alone += time.perf_counter() - started
                yield from (last.result() for last in written)
                written = [threads.submit(task.write, computed)]
                if begun == 1:
                    yield written.pop().result()
            yield from (last.result() for last in written)
        return begun

    def _wants_processes(self) -> bool:
        return self.scheduler is not None or (self.processes > 1 and self._alone > STARTUP_SECONDS)

    def _run_on_cluster(self, tasks: Sequence[Task[R_co]]) -> Iterator[R_co]:
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
            except ImportError as error:
                remedy = "Start workers in an environment that has this project installed."
                raise InputError("workers cannot import what they need", found=str(error), remedy=remedy) from error
            except (CancelledError, CommClosedError) as error:
                self._reconnect(error)

    def _gather(self, tasks: Mapping[int, Task[R_co]]) -> Iterator[tuple[int, R_co]]:
        """Results by the number of their task. Raises CancelledError or CommClosedError if the scheduler is lost."""
        from distributed import as_completed

        self._require_worker()
        futures = self._client.map(run_task, list(tasks.values()), pure=False)
        numbers = dict(zip(futures, tasks, strict=True))
        try:
            while numbers:
                try:
                    for future, result in as_completed(list(numbers), with_results=True, timeout=LOOK_SECONDS):
                        if isinstance(result, CancelledError):  # given, not raised, if the scheduler is lost
                            raise result
                        yield numbers.pop(future), result
                except TimeoutError:
                    if any(future.status == "error" for future in numbers):
                        raise  # a task's own error
                    self._require_worker()
        finally:
            self._client.cancel(futures)

    def _require_worker(self) -> None:
        """Wait for a first worker. Raises InputError if none comes in time."""
        try:
            self._client.wait_for_workers(1, timeout=WORKER_SECONDS)
        except TimeoutError as error:
            remedy = f"Start some (dask worker {self.scheduler}), or look at their logs if they die at their start."
            raise InputError("the dask scheduler has no workers", where=self.scheduler, remedy=remedy) from error

    def _connect(self, seconds: float) -> None:
        """Have a client of the scheduler. Raises InputError if it does not answer in time."""
        from distributed import Client

        if self._client is not None:
            return
        try:
            self._client = Client(self.scheduler, timeout=seconds)
        except (OSError, ValueError) as error:
            remedy = "Start it (dask scheduler), or set the scheduler to null for local processes."
            raise InputError("no dask scheduler answers", where=self.scheduler, remedy=remedy) from error

    def _reconnect(self, lost: BaseException) -> None:
        """Wait for a scheduler that was lost to be started again. Raises StorageError if it is not."""
        with suppress(OSError, TimeoutError, type(lost)):  # its scheduler is gone
            self._client.close(timeout=1)
        self._client = None
        try:
            self._connect(RECONNECT_SECONDS)
        except InputError as error:
            remedy = "Start it again and run the same command again: finished parts are kept."
            raise StorageError("the dask scheduler went away", where=self.scheduler, remedy=remedy) from error
