"""Rows that are drawn when they are read: those that would be kept, bit for bit, whoever draws them."""

import pickle
import subprocess
import sys
import threading
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import numpy as np
import pytest

import pipeline.augmentation.drawn as drawn_module
from cache.errors import RecordError
from cache.parts import PartStore
from cache.records import ImageSet
from cache.writer import write_images, write_variant
from pipeline.augmentation.augment import without_pixels
from pipeline.augmentation.drawn import DrawnRows, draw_lazily
from pipeline.augmentation.policy import Augmentation, make_augmentation
from pipeline.config.params import read_params
from pipeline.runtime.incremental import ComputePlan, compute_missing
from pipeline.runtime.workers import Pool

ROOT = Path(__file__).resolve().parents[3]
COUNT = 40


def prepared(count: int = COUNT) -> ImageSet:
    pixels = np.random.default_rng(3).integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
    images = ImageSet(pixels, np.arange(count) % 2, np.array([b""] * count, "S64"), ("a", "b"))
    return ImageSet(pixels, images.labels, images.keys(), images.classes)


def augmentation(variant: str = "color_1", engine: str = "fused") -> Augmentation:
    return make_augmentation(
        read_params(ROOT / "params.yaml", ["augment.size=24", f"augment.engine={engine}"]).augment, variant
    )


def lazy(drawn: Augmentation, images: ImageSet | None = None) -> ImageSet:
    images = images or prepared()
    return draw_lazily(without_pixels(images, drawn), images)


@pytest.mark.parametrize(("variant", "engine"), [("spatial_1", "fused"), ("color_1", "fused"), ("color_1", "imgaug")])
def test_rows_are_those_that_would_be_kept(variant: str, engine: str) -> None:
    chosen = augmentation(variant, engine)
    source = prepared()
    expected = chosen(source.images[:], source.ids)
    images = lazy(chosen)
    rows = images.images
    assert isinstance(rows, DrawnRows) and rows.shape == (COUNT, 24, 24, 3) and rows.dtype == np.uint8
    assert np.array_equal(rows[:], expected)
    assert np.array_equal(rows[5:9], expected[5:9])
    assert np.array_equal(rows[np.array([7, 2, 7])], expected[[7, 2, 7]])
    assert np.array_equal(rows[3], expected[3:4])
    assert np.array_equal(np.asarray(rows), expected)
    assert len(rows[np.array([], dtype=int)]) == 0
    part = pickle.loads(pickle.dumps(rows.select(np.array([1, 30, 4]))))
    assert np.array_equal(part[1:], expected[[30, 4]])
    assert (images.labels.tolist(), images.ids.tolist()) == (source.labels.tolist(), source.ids.tolist())
    with pytest.raises(IndexError):
        rows[np.array([COUNT])]


@pytest.mark.parametrize("cores", [1, 3])
def test_any_number_of_threads_draws_the_same(cores: int, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = augmentation("spatial_1")
    source = prepared()
    monkeypatch.setattr(drawn_module, "usable_threads", lambda: cores)
    monkeypatch.setattr(drawn_module, "SMALLEST", 4)
    assert np.array_equal(lazy(chosen).images[:], chosen(source.images[:], source.ids))


def test_imgaug_draws_the_same_in_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = augmentation("color_1", "imgaug")
    source = prepared()
    monkeypatch.setattr(drawn_module, "usable_threads", lambda: 2)
    monkeypatch.setattr(drawn_module, "WORTH_PROCESSES", 1)
    assert np.array_equal(lazy(chosen).images[:], chosen(source.images[:], source.ids))


def test_threads_may_draw_by_imgaug_at_once() -> None:
    """Its augmenters hold a generator, which is that of the image at hand."""
    chosen = augmentation("color_1", "imgaug")
    source = prepared(12)
    expected = chosen(source.images[:], source.ids)
    results = {}

    def draw(name: int) -> None:
        results[name] = lazy(chosen, source).images[:]

    threads = [threading.Thread(target=draw, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(np.array_equal(results[number], expected) for number in range(4))


def test_what_torch_seeds_is_drawn_apart_from_a_thread_that_trains(monkeypatch: pytest.MonkeyPatch) -> None:
    """AutoAugment draws from torch's global generator, as dropout does."""
    apart = []

    def run_apart(tasks: list, processes: int) -> list:
        apart.append(processes)
        return [task.run() for task in tasks]

    monkeypatch.setattr(drawn_module, "run_in_processes", run_apart)
    images = lazy(augmentation("auto_1", "imgaug"), prepared(3))
    images.images[:]
    assert apart == []
    thread = threading.Thread(target=lambda: images.images[:])
    thread.start()
    thread.join()
    assert len(apart) == 1


def test_keys_are_those_of_kept_rows_and_name_recipe_and_source() -> None:
    chosen = augmentation()
    source = prepared()
    kept = ImageSet(
        chosen(source.images[:], source.ids), source.labels, source.ids, ("a", "b"), "color_1", chosen.recipe
    )
    keys = lazy(chosen).keys()
    assert keys.tolist() == kept.keys().tolist()
    assert not np.isin(keys, source.keys()).any()
    assert not np.isin(keys, lazy(augmentation("color_2")).keys()).any()
    assert not np.isin(keys, lazy(augmentation("color_1", "imgaug")).keys()).any()


def test_a_variant_of_other_images_is_refused() -> None:
    source = prepared()
    order = np.arange(COUNT)[::-1]
    other = ImageSet(source.images[order], source.labels[order], source.ids[order], ("a", "b"))
    with pytest.raises(RecordError, match=r"color_1: the variant is of other images than.*Run augment"):
        draw_lazily(without_pixels(source, augmentation()), other)


@pytest.mark.parametrize(
    "changed", [{"code": 0}, {"processor": "abacus"}, {"libraries": {"numpy": "1.0"}}, {"more": 1}]
)
def test_a_machine_that_would_draw_other_pixels_is_refused(changed: dict[str, object]) -> None:
    source = prepared()
    rows = DrawnRows(source.images, source.ids, augmentation().recipe | changed)
    (name,) = changed
    with pytest.raises(RecordError, match=rf"color_1 {name}: this machine or code would draw other.*Run augment here"):
        rows[:]


def test_a_recipe_that_lacks_what_is_needed_is_refused() -> None:
    source = prepared()
    with pytest.raises(RecordError, match="the recipe of a variant is incomplete; expected variant, policy, size"):
        DrawnRows(source.images, source.ids, {"stage": "augment", "size": 24})[:]


def test_identity_and_keys_need_no_augmentation_library(tmp_path: Path) -> None:
    source = prepared()
    write_images(tmp_path / "prepare" / "train.h5", source)
    write_variant(tmp_path / "augment" / "train-color_1.h5", without_pixels(source, augmentation()))
    code = (
        "import sys; from pathlib import Path; from stages._cli import Job\n"
        "from pipeline.config.params import read_params\n"
        f"data = Path({str(tmp_path)!r}); job = Job('x', read_params(Path('params.yaml')), data, data, True)\n"
        "images = job.images('train')['color_1']; print(len(images), images.images.shape, len(set(images.keys())))\n"
        "print(sorted(set(sys.modules) & {'imgaug', 'cv2', 'dask', 'distributed', 'torch'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout == f"{COUNT} ({COUNT}, 24, 24, 3) {COUNT}\n[]\n"


@pytest.mark.parametrize("missing", ["cv2", "imgaug"])
def test_a_machine_that_lacks_a_library_is_told_which(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    source = prepared()
    recipe = augmentation("color_1", "imgaug").recipe | {"seed": 5}  # not restored before
    if missing == "cv2":
        monkeypatch.setitem(sys.modules, "pipeline.augmentation.policy", None)
    else:

        def lacking(name: str) -> str:
            raise PackageNotFoundError(name)

        monkeypatch.setattr("pipeline.augmentation.policy.version", lacking)
    with pytest.raises(RecordError, match=r"color_1: rows are drawn as they are read, which takes a library.*pixels"):
        DrawnRows(source.images, source.ids, recipe)[:]


class WatchedRows:
    """Rows that tell when those of a part are read."""

    def __init__(self, rows: np.ndarray, events: dict[int, threading.Event], start: int = 0) -> None:
        self.rows = rows
        self.events = events
        self.start = start
        self.shape = rows.shape
        self.dtype = rows.dtype

    def __len__(self) -> int:
        return len(self.rows)

    def select(self, positions: np.ndarray) -> "WatchedRows":
        return WatchedRows(self.rows[positions], self.events, self.start + int(positions[0]))

    def __getitem__(self, index: object) -> np.ndarray:
        self.events[self.start // 10].set()
        return self.rows[index]


class Patient:
    """A network that takes its time: it waits until the next part is being drawn."""

    def __init__(self, events: dict[int, threading.Event]) -> None:
        self.events = events
        self.calls = 0
        self.recipe = {"stage": "patient"}

    def __call__(self, images: np.ndarray, keys: np.ndarray) -> np.ndarray:
        self.calls += 1
        following = self.events.get(self.calls)
        assert following is None or following.wait(30), "the next part is not drawn while this one is featurized"
        return images.reshape(len(images), -1)[:, :4].astype(np.float32)


def test_the_next_part_is_drawn_while_the_network_is_busy(tmp_path: Path) -> None:
    chosen = augmentation()
    source = prepared()
    events = {number: threading.Event() for number in range(4)}
    watched = ImageSet(WatchedRows(source.images[:], events), source.labels, source.ids, source.classes)
    images = lazy(chosen, watched)
    network = Patient(events)
    plan = ComputePlan(PartStore(tmp_path, network.recipe), network, 10, Pool(1))
    rows, count = compute_missing(images, images.keys(), plan)
    assert (count, network.calls) == (COUNT, 4)
    expected = chosen(source.images[:], source.ids).reshape(COUNT, -1)[:, :4]
    assert np.array_equal(rows[:], expected.astype(np.float32))
