"""Tasks in processes on this machine, by joblib, which starts them without running the main script again."""

from collections.abc import Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool

from joblib import Parallel, delayed, parallel_config
from joblib.externals.loky import get_reusable_executor

from cache.errors import StorageError
from pipeline.runtime.task import R_co, Task, run_task

RETRIES = 3  # of tasks whose process died


def run_in_processes(tasks: Sequence[Task[R_co]], processes: int) -> Iterator[R_co]:
    """Results in any order; each process has one thread. Raises what a task raises, StorageError if processes die."""
    remaining = dict(enumerate(tasks))
    for _ in range(1 + RETRIES):
        try:
            with parallel_config("loky", n_jobs=processes, inner_max_num_threads=1):
                parallel = Parallel(return_as="generator_unordered", batch_size=1, max_nbytes=None)
                for number, result in parallel(delayed(_numbered)(*item) for item in tuple(remaining.items())):
                    del remaining[number]
                    yield result
        except BrokenProcessPool as error:
            broken = error
        else:
            return
    remedy = (
        "Is there too little memory, or can they not import a library? Set workers to 1 to see; finished work is kept."
    )
    raise StorageError("processes on this machine died again and again", found=str(broken), remedy=remedy) from broken


def stop_processes() -> None:
    """End the processes, which otherwise stay for five minutes to be used again."""
    get_reusable_executor().shutdown(wait=True, kill_workers=True)


def _numbered(number: int, task: Task[R_co]) -> tuple[int, R_co]:
    return number, run_task(task)
