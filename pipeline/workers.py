"""Run one picklable function over many tasks: in this process, in local processes, or on a dask cluster.

The only module that imports dask. Tasks say where their results go, so it does not matter who runs which.
"""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from cache.errors import AugcacheError, InputError, StorageError

T = TypeVar("T")
R = TypeVar("R")

STARTUP_SECONDS = 8.0  # of a local cluster and of its workers' imports; less work than this is done here
RETRIES = 3  # of a task whose worker died


@dataclass(frozen=True)
class Pool:
    """How many local processes (`auto`: one a core), or the address of a running dask scheduler."""

    workers: int | Literal["auto"] = 1
    scheduler: str | None = None

    @property
    def processes(self) -> int:
        """The number of local processes."""
        return len(os.sched_getaffinity(0)) if self.workers == "auto" else self.workers


def run_tasks(function: Callable[[T], R], tasks: Sequence[T], pool: Pool) -> Iterator[R]:
    """Results as they come, in any order. Raises what a task raises; InputError where no scheduler answers.

    Without a scheduler the first tasks run in this process; a local cluster starts only when the measured pace says
    that the rest takes longer than the cluster's start-up.
    """
    if pool.scheduler is not None:
        yield from _run_on_cluster(function, tasks, pool)
        return
    remaining, started = list(tasks), time.perf_counter()
    done = 0
    while remaining and (pool.processes == 1 or _soon_done(done, len(remaining), started, pool.processes)):
        yield function(remaining.pop(0))
        done += 1
    if remaining:
        yield from _run_on_cluster(function, remaining, pool)


def _soon_done(done: int, remaining: int, started: float, processes: int) -> bool:
    """Whether this process alone finishes sooner than a cluster would, at the pace so far."""
    if done == 0:
        return True
    alone = (time.perf_counter() - started) / done * remaining
    return alone <= STARTUP_SECONDS + alone / processes


def _run_on_cluster(function: Callable[[T], R], tasks: Sequence[T], pool: Pool) -> Iterator[R]:
    from distributed import Client, KilledWorker, as_completed

    with closing(_connect(pool)) as connection:
        client: Client = connection.client
        futures = client.map(function, tasks, pure=False, retries=0)
        try:
            for _, result in as_completed(futures, with_results=True):
                yield result
        except KilledWorker as error:
            remedy = "Look at the workers' logs: too little memory? Then run the same command again."
            raise StorageError("workers died again and again on one task", remedy=remedy) from error
        except AugcacheError:
            client.cancel(futures)
            raise


@dataclass
class _Connection:
    client: Any
    cluster: Any = None

    def close(self) -> None:
        """Leave a foreign cluster running; stop our own."""
        self.client.close()
        if self.cluster is not None:
            self.cluster.close()


def _connect(pool: Pool) -> _Connection:
    import dask
    from distributed import Client, LocalCluster

    dask.config.set({"distributed.scheduler.allowed-failures": RETRIES})
    if pool.scheduler is None:
        cluster = LocalCluster(
            n_workers=pool.processes,
            threads_per_worker=1,
            dashboard_address="127.0.0.1:0",
            host="127.0.0.1",
            silence_logs=40,
            memory_limit=0,
        )
        return _Connection(Client(cluster), cluster)
    try:
        return _Connection(Client(pool.scheduler, timeout=10))
    except (OSError, ValueError) as error:
        remedy = "Start it (dask scheduler), or set the scheduler to null for local processes."
        raise InputError("no dask scheduler answers", where=pool.scheduler, remedy=remedy) from error
