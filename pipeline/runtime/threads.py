"""How many threads and processes this process may use."""

import os

from joblib import cpu_count

VARIABLE = "OMP_NUM_THREADS"


def usable_threads() -> int:
    """The processors that this process may use, at least 1; not those that the machine has.

    The least of the container's quota (cgroup v1 or v2, rounded up), the processors that the process may run on
    (affinity), LOKY_MAX_CPU_COUNT, and OMP_NUM_THREADS, which bounds the processes of `workers: auto` too.
    """
    outermost = os.environ.get(VARIABLE, "").partition(",")[0].strip()  # a list: one number per level of nesting
    wanted = int(outermost) if outermost.isdecimal() else 0
    return min(cpu_count(), wanted) if wanted else int(cpu_count())
