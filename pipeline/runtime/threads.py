"""How many threads and processes this process may use, and how many of them a piece of work is worth."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from joblib import cpu_count

VARIABLE = "OMP_NUM_THREADS"
LEAST_WORK = 5e8  # floating-point operations of a step: some 10 ms of one processor


def usable_threads() -> int:
    """The processors that this process may use, at least 1; not those that the machine has.

    The least of the container's quota (cgroup v1 or v2, rounded up), the processors that the process may run on
    (affinity), LOKY_MAX_CPU_COUNT, and OMP_NUM_THREADS, which bounds the processes of `workers: auto` too.
    """
    outermost = os.environ.get(VARIABLE, "").partition(",")[0].strip()  # a list: one number per level of nesting
    wanted = int(outermost) if outermost.isdecimal() else 0
    return min(cpu_count(), wanted) if wanted else int(cpu_count())


@contextmanager
def threads_for(work: float) -> Iterator[None]:
    """Inside the block torch computes small steps by one thread. work: floating-point operations of a step.

    A step consists of dozens of operations, and threads meet after each: on a busy machine a meeting waits until the
    last of them gets a processor. Large steps keep the threads that there are.
    """
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1 if work < LEAST_WORK else before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
