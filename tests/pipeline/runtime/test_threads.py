"""As many threads as the process may use, whatever the machine has."""

import os
import subprocess
import sys
from pathlib import Path

import joblib.externals.loky.backend.context as loky
import pytest
import torch

from pipeline.runtime.threads import LEAST_WORK, threads_for, usable_threads
from pipeline.runtime.workers import Pool

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(autouse=True)
def eight_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(8)), raising=False)
    monkeypatch.setattr(loky, "_cpu_count_cgroup", lambda count: count)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.delenv("LOKY_MAX_CPU_COUNT", raising=False)


def test_all_processors_if_nothing_forbids_it() -> None:
    assert usable_threads() == Pool("auto").processes == 8


def test_the_quota_of_a_container_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loky, "_cpu_count_cgroup", lambda count: 1)
    assert usable_threads() == Pool("auto").processes == 1


def test_affinity_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {3, 5}, raising=False)
    assert usable_threads() == 2


@pytest.mark.parametrize(("variable", "threads"), [("3", 3), ("2,1", 2), ("64", 8), ("", 8), ("many", 8), ("0", 8)])
def test_omp_num_threads_counts(variable: str, threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", variable)
    assert usable_threads() == Pool("auto").processes == threads


REPORT = """
import os
from stages._process import running
with running("test", False):
    import torch
    print(os.environ["OMP_NUM_THREADS"], os.environ["OMP_WAIT_POLICY"], torch.get_num_threads())
"""


def test_a_command_starts_as_many_threads_as_it_may_use() -> None:
    command = [sys.executable, "-c", REPORT]
    own = os.environ | {"LOKY_MAX_CPU_COUNT": "1"}
    done = subprocess.run(command, cwd=ROOT, env=own, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1", "passive", "1"]


def test_what_the_user_has_set_stays() -> None:
    command = [sys.executable, "-c", REPORT]
    own = os.environ | {"OMP_WAIT_POLICY": "active", "OMP_NUM_THREADS": "3"}
    done = subprocess.run(command, cwd=ROOT, env=own, capture_output=True, text=True, check=True)
    assert done.stdout.split()[:2] == ["3", "active"]


def test_small_steps_have_one_thread_and_large_ones_all(monkeypatch: pytest.MonkeyPatch) -> None:
    counts: list[int] = []
    monkeypatch.setattr(torch, "get_num_threads", lambda: 6)
    monkeypatch.setattr(torch, "set_num_threads", counts.append)
    for work in (LEAST_WORK / 2, LEAST_WORK):
        with pytest.raises(KeyError), threads_for(work):
            raise KeyError
    assert counts == [1, 6, 6, 6]
