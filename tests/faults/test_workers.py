"""Any number of workers of any kind, and any rows a task: the same bytes; a dead worker costs only time."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pipeline.runtime.processes as processes_module
import pipeline.runtime.workers as workers_module
from cache.errors import InputError, RecordError, StorageError
from cache.parts import PartStore
from cache.reader import read_file, read_images
from cache.records import ImageSet
from pipeline.augmentation.augment import Workshop, augment, without_pixels
from pipeline.augmentation.drawn import draw_lazily
from pipeline.augmentation.policy import Augmentation, make_augmentation
from pipeline.config.augment import AugmentConfig
from pipeline.config.params import read_params
from pipeline.config.shared.featurize import FeaturizeConfig
from pipeline.features.featurizer import Featurizer
from pipeline.runtime.incremental import ComputePlan, compute_missing
from pipeline.runtime.workers import Pool

STEPS = ("read", "compute", "write")
PARAMS = Path(__file__).parents[2] / "params.yaml"


class Cluster:
    """A real scheduler and real workers on loopback."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "scheduler.json"
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self, workers: int, port: int = 0) -> str:
        listen = ["--host", "127.0.0.1", "--port", str(port), "--dashboard-address", "127.0.0.1:0"]
        self._run("scheduler", *listen, "--scheduler-file", str(self.file))
        deadline = time.monotonic() + 60
        while not (self.file.exists() and self.file.read_text().endswith("}")):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        self.address = str(json.loads(self.file.read_text())["address"])
        for _ in range(workers):
            self.add_worker()
        return self.address

    def add_worker(self) -> "subprocess.Popen[bytes]":
        options = ["--no-nanny", "--nthreads", "1", "--no-dashboard", "--local-directory", str(self.file.parent)]
        return self._run("worker", self.address, "--host", "127.0.0.1", *options)

    def _run(self, *arguments: str) -> "subprocess.Popen[bytes]":
        command = [sys.executable, "-m", "dask", *arguments]
        self.processes.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        return self.processes[-1]

    def stop(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    running = Cluster(tmp_path_factory.mktemp("cluster"))
    try:
        running.start(workers=2)
        yield running
    finally:
        running.stop()


@pytest.fixture(scope="module")
def images(reference: Any) -> ImageSet:
    return read_images(reference.data / "prepare" / "train.h5")


@pytest.fixture(scope="module")
def augmentation() -> Augmentation:
    config = read_params(PARAMS, ["augment.size=32"]).augment
    assert isinstance(config, AugmentConfig)
    return make_augmentation(config, "spatial_1")


@pytest.fixture(scope="module")
def featurizer() -> Featurizer:
    config = read_params(PARAMS, ["featurize.size=32", "featurize.batch=16", "featurize.device=cpu"]).featurize
    assert isinstance(config, FeaturizeConfig)
    return Featurizer(config)


def joined(pixels: np.ndarray, features: np.ndarray) -> np.ndarray:
    """Bytes [n, pixels and features of a row]."""
    rows = [np.ascontiguousarray(part).reshape(len(part), -1).view(np.uint8) for part in (pixels, features)]
    return np.concatenate(rows, axis=1)


Make = Callable[[Pool, int], np.ndarray]


@pytest.fixture
def make(images: ImageSet, augmentation: Augmentation, featurizer: Featurizer, tmp_path: Path) -> Make:
    """Augment and featurize into a new store; all rows end to end, as bytes."""
    runs = 0

    def run(pool: Pool, rows_per_task: int) -> np.ndarray:
        nonlocal runs
        runs += 1
        folder = tmp_path / f"store-{runs}"
        augmented, count = augment(images, augmentation, Workshop(folder, rows_per_task, pool))
        assert count == len(images)
        store = PartStore(folder / "features", featurizer.recipe)
        features, count = compute_missing(
            augmented, augmented.keys(), ComputePlan(store, featurizer, rows_per_task, pool)
        )
        assert count == len(images)
        return joined(augmented.images[:], features[:])

    return run


@pytest.fixture(scope="module")
def expected(images: ImageSet, augmentation: Augmentation, featurizer: Featurizer) -> np.ndarray:
    pixels = augmentation(images.images[:], images.ids)
    return joined(pixels, featurizer(pixels, images.ids))


@pytest.mark.parametrize("rows_per_task", [1, 7, 64])
def test_rows_per_task_do_not_change_a_byte(make: Make, expected: np.ndarray, rows_per_task: int) -> None:
    assert np.array_equal(make(Pool(1), rows_per_task), expected)


def test_two_local_processes_make_the_same_bytes(
    make: Make, expected: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers_module, "STARTUP_SECONDS", -1.0)
    with Pool(2) as pool:
        assert np.array_equal(make(pool, 7), expected)
        assert pool.started_processes


@pytest.mark.parametrize("rows_per_task", [pytest.param(1, marks=pytest.mark.long), 7, 64])
def test_a_dask_cluster_makes_the_same_bytes(
    make: Make, expected: np.ndarray, cluster: Cluster, rows_per_task: int
) -> None:
    with Pool(1, cluster.address) as pool:
        assert np.array_equal(make(pool, rows_per_task), expected)


def test_a_dask_cluster_draws_and_featurizes_rows_that_are_not_kept(
    cluster: Cluster, images: ImageSet, augmentation: Augmentation, featurizer: Featurizer, tmp_path: Path
) -> None:
    lazy = draw_lazily(without_pixels(images, augmentation), images)
    expected = featurizer(augmentation(images.images[:], images.ids), images.ids)
    for number, address in enumerate((None, cluster.address)):
        store = PartStore(tmp_path / f"features-{number}", featurizer.recipe)
        with Pool(1, address) as pool:
            rows, count = compute_missing(lazy, lazy.keys(), ComputePlan(store, featurizer, 5, pool))
        assert count == len(images)
        assert rows[:].tobytes() == expected.tobytes()


def test_a_dask_cluster_prepares_the_same_bytes(
    place: Any, reference: Any, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.ingest.class_groups.MOST", 5)
    place.run("prepare", f"prepare.scheduler={cluster.address}")
    assert place.contents("prepare") == reference.contents("prepare")


@pytest.mark.parametrize("group_bytes", [256 << 20, 1])
def test_a_dask_cluster_prepares_large_sets_with_the_same_bytes(
    place: Any, tmp_path: Path, cluster: Cluster, group_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In tasks of whole classes, whose part files are linked; in tasks of five images, and put together by workers."""
    alone = replace(place.elsewhere(tmp_path / "alone"), part_rows=8)
    alone.run("prepare")
    monkeypatch.setattr("pipeline.ingest.class_groups.GROUP_BYTES", group_bytes)
    monkeypatch.setattr("pipeline.ingest.class_groups.MOST", 5)
    shared = replace(place, part_rows=8)
    shared.run("prepare", f"prepare.scheduler={cluster.address}")
    assert shared.contents("prepare") == alone.contents("prepare")
    assert len(list(shared.data.glob("prepare/train.parts/*.h5"))) == 3


def test_a_worker_killed_in_mid_run_and_one_added_do_not_change_a_byte(
    make: Make, expected: np.ndarray, cluster: Cluster, tmp_path: Path
) -> None:
    victim = cluster.processes[1]

    def kill_when_parts_appear() -> None:
        while not list(tmp_path.glob("store-1/*/*.h5")):
            time.sleep(0.005)
        victim.send_signal(signal.SIGKILL)
        cluster.add_worker()

    killer = threading.Thread(target=kill_when_parts_appear, daemon=True)
    killer.start()
    with Pool(1, cluster.address) as pool:
        assert np.array_equal(make(pool, 1), expected)
    killer.join(10)
    assert victim.wait(10) == -signal.SIGKILL


def test_a_scheduler_started_again_in_mid_run_completes_it_with_the_same_bytes(
    images: ImageSet, augmentation: Augmentation, tmp_path: Path
) -> None:
    cluster = Cluster(tmp_path)
    store = tmp_path / "store"
    try:
        address = cluster.start(workers=1)

        def restart(_: int, seen: list[int] = []) -> None:  # noqa: B006
            seen.append(1)
            if len(seen) == 3:
                cluster.stop()
                cluster.file.unlink()
                threading.Thread(target=cluster.start, args=(1, int(address.rpartition(":")[2])), daemon=True).start()

        with Pool(1, address) as pool:
            augmented, computed = augment(images, augmentation, Workshop(store, 1, pool), advance=restart)
        assert computed == len(images)
        assert np.array_equal(augmented.images[:], augmentation(images.images[:], images.ids))
    finally:
        cluster.stop()


def test_a_scheduler_that_dies_is_one_line_and_the_repeat_goes_on(
    images: ImageSet, augmentation: Augmentation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers_module, "RECONNECT_SECONDS", 0.5)
    first = Cluster(tmp_path / "a")
    second = Cluster(tmp_path / "b")
    store = tmp_path / "store"
    for cluster in (first, second):
        cluster.file.parent.mkdir()
    try:
        address = first.start(workers=1)

        def kill(_: int, seen: list[int] = []) -> None:  # noqa: B006
            seen.append(1)
            if len(seen) == 3:
                first.processes[0].kill()

        with (
            pytest.raises(StorageError, match=r"the dask scheduler went away.*run the same command again"),
            Pool(1, address) as pool,
        ):
            augment(images, augmentation, Workshop(store, 1, pool), advance=kill)
        held = sum(len(read_file(path, "part").rows) for path in store.glob("*/*.h5"))
        with Pool(1, second.start(workers=1)) as pool:
            augmented, computed = augment(images, augmentation, Workshop(store, 1, pool))
        assert 0 < held < len(images)
        assert computed <= len(images) - held
        assert np.array_equal(augmented.images[:], augmentation(images.images[:], images.ids))
    finally:
        first.stop()
        second.stop()


def test_no_scheduler_is_one_line(
    images: ImageSet, augmentation: Augmentation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers_module, "CONNECT_SECONDS", 2)
    work = ComputePlan(PartStore(tmp_path, augmentation.recipe), augmentation, 8, Pool(1, "tcp://127.0.0.1:9"))
    with pytest.raises(InputError, match=r"tcp://127\.0\.0\.1:9: no dask scheduler answers\. Start it"):
        compute_missing(images, images.ids, work)


class Overlapping:
    """A task of which a step can be made to fail; what is done with many of them is told by their events."""

    def __init__(self, number: int, events: dict[str, threading.Event], failing: str = "") -> None:
        self.number = number
        self.events = events
        self.failing = failing

    def read(self) -> int:
        self._take("read")
        return self.number

    def compute(self, given: int) -> int:
        assert threading.current_thread() is threading.main_thread()  # an interrupt must reach it
        self._take("compute")
        return given * given

    def write(self, result: int) -> int:
        self._take("write")
        return result

    def _take(self, step: str) -> None:
        if self.failing == f"{step} {self.number}":
            raise StorageError(self.failing)
        self.events[f"{step} {self.number}"].set()


def overlapping(count: int, failing: str = "") -> tuple[list[Any], dict[str, threading.Event]]:
    events = {f"{step} {number}": threading.Event() for step in STEPS for number in range(count)}
    return [Overlapping(number, events, failing) for number in range(count)], events


def done(events: dict[str, threading.Event], step: str) -> list[int]:
    return [int(name.split()[1]) for name, event in events.items() if name.startswith(step) and event.is_set()]


def test_while_one_task_computes_the_next_is_read_and_the_last_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    tasks, events = overlapping(5)
    take = Overlapping._take

    def patient(self: Overlapping, step: str) -> None:
        if step == "compute" and self.number < 4:
            assert events[f"read {self.number + 1}"].wait(10), "the next one is not read while this one computes"
        if step == "write" and 0 < self.number < 4:
            assert events[f"compute {self.number + 1}"].wait(10), "the next one does not compute while this is written"
        take(self, step)

    monkeypatch.setattr(Overlapping, "_take", patient)
    assert list(Pool(1).run(tasks)) == [0, 1, 4, 9, 16]


@pytest.mark.parametrize(
    ("failing", "computed", "written"),
    [
        ("write 0", [0], []),
        ("write 2", [0, 1, 2, 3], [0, 1]),
        ("read 2", [0, 1], [0, 1]),
        ("compute 2", [0, 1], [0, 1]),
    ],
)
def test_what_fails_ends_the_work_and_what_was_made_is_kept(
    failing: str, computed: list[int], written: list[int]
) -> None:
    tasks, events = overlapping(6, failing)
    with pytest.raises(StorageError, match=failing):
        list(Pool(1).run(tasks))
    assert done(events, "compute") == computed
    assert done(events, "write") == written


def test_work_that_is_given_up_leaves_no_thread() -> None:
    before = threading.active_count()
    tasks, events = overlapping(6)
    results = Pool(1).run(tasks)
    assert next(results) == 0
    results.close()  # type: ignore[attr-defined]
    assert threading.active_count() == before
    assert done(events, "compute") == [0]


def test_a_worker_of_another_kind_is_refused_instead_of_filling_the_store_with_other_bytes(
    images: ImageSet, augmentation: Augmentation, tmp_path: Path
) -> None:
    store = PartStore(tmp_path / "parts", augmentation.recipe | {"libraries": {"numpy": "1.0"}})
    with pytest.raises(RecordError, match=r"libraries: worker differs; expected \{'numpy': '1\.0'\}, found \{'"):
        compute_missing(images, images.ids, ComputePlan(store, augmentation, 8, Pool(1)))
    assert not store.path.exists()


class Dying:
    """A task whose process dies as often as there are tokens left in a folder."""

    def __init__(self, number: int, tokens: Path) -> None:
        self.number = number
        self.tokens = tokens

    def read(self) -> int:
        return self.number

    def compute(self, given: int) -> int:
        token = next(self.tokens.iterdir(), None)
        if given == 1 and token is not None:
            token.unlink()
            os.kill(os.getpid(), signal.SIGKILL)
        return given * given

    def write(self, result: int) -> int:
        return result


@pytest.mark.parametrize("deaths", [1, 9])
def test_a_local_process_that_dies_costs_time_and_one_that_always_dies_is_one_line(
    deaths: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers_module, "STARTUP_SECONDS", -1.0)
    monkeypatch.setattr(processes_module, "RETRIES", 1)
    for token in range(deaths):
        (tmp_path / str(token)).touch()
    tasks = [Dying(number, tmp_path) for number in range(4)]
    with Pool(2) as pool:
        if deaths == 1:
            assert sorted(pool.run(tasks)) == [0, 1, 4, 9]
        else:
            with pytest.raises(StorageError, match=r"died again and again.*Set workers to 1"):
                list(pool.run(tasks))


class Telling:
    """A task that gives the environment of its process."""

    def read(self) -> str:
        return "OMP_NUM_THREADS"

    def compute(self, given: str) -> str | None:
        return os.environ.get(given)

    def write(self, result: str | None) -> str | None:
        return result


def test_local_processes_have_one_thread_and_leave_this_environment_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers_module, "STARTUP_SECONDS", -1.0)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    before = dict(os.environ)
    with Pool(2) as pool:
        assert list(pool.run([Telling(), Telling()])) == ["1", "1"]
    assert dict(os.environ) == before


def test_a_callers_tasks_stay_in_its_list() -> None:
    tasks, _ = overlapping(3)
    assert list(Pool(1).run(tasks)) == [0, 1, 4] and len(tasks) == 3


def test_a_scheduler_without_workers_is_one_line_within_half_a_minute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert workers_module.CONNECT_SECONDS + workers_module.WORKER_SECONDS <= 30
    assert workers_module.LOOK_SECONDS + workers_module.WORKER_SECONDS <= 30
    monkeypatch.setattr(workers_module, "WORKER_SECONDS", 1)
    cluster = Cluster(tmp_path)
    try:
        address = cluster.start(workers=0)
        with pytest.raises(InputError, match=rf"{address}: the dask scheduler has no workers\. Start some \(dask wor"):
            list(Pool(1, address).run(overlapping(2)[0]))
    finally:
        cluster.stop()


class Stranger:
    """A task that ends its worker's process, or needs a library that the worker lacks."""

    def __init__(self, lacking: str) -> None:
        self.lacking = lacking

    def read(self) -> None:
        return None

    def compute(self, given: None) -> None:
        if self.lacking:
            raise ModuleNotFoundError(f"No module named '{self.lacking}'")
        time.sleep(60)

    def write(self, result: None) -> None:
        return None


def test_workers_that_lack_a_library_are_one_line(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path)
    try:
        with pytest.raises(
            InputError, match=r"workers cannot import.*No module named 'imgaug'.*this project installed"
        ):
            list(Pool(1, cluster.start(workers=1)).run([Stranger("imgaug")]))
    finally:
        cluster.stop()


def test_workers_that_all_go_away_in_mid_run_are_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers_module, "LOOK_SECONDS", 0.5)
    monkeypatch.setattr(workers_module, "WORKER_SECONDS", 1)
    cluster = Cluster(tmp_path)
    try:
        address = cluster.start(workers=1)

        def leave() -> None:
            time.sleep(3)
            cluster.processes[1].terminate()

        threading.Thread(target=leave, daemon=True).start()
        with pytest.raises(InputError, match="has no workers"):
            list(Pool(1, address).run([Stranger("")]))
    finally:
        cluster.stop()
