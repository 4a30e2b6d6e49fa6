"""Freed memory is there for the next step, where glibc would hand it back."""

import platform
import subprocess
import sys
from pathlib import Path

import pytest

CODE = """
import resource, sys
from pipeline.runtime.malloc import keep_freed_memory

if sys.argv[1] == "keep":
    keep_freed_memory()
import numpy as np

def step():
    return [np.ones(1 << 18) for _ in range(20)]  # 2 MiB each

step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_what_is_freed_is_not_faulted_in_again() -> None:
    def faults(how: str) -> int:
        command = [sys.executable, "-c", CODE, how]
        return int(subprocess.check_output(command, cwd=Path(__file__).parents[3], text=True))

    assert faults("keep") < faults("as it is") / 10
