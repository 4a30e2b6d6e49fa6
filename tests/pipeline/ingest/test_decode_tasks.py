"""A folder decoded by tasks: the same pixels, ids and reasons as by this process alone, in part files."""

import pickle
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cache.errors import RecordError, StorageError
from cache.parts import PartStore
from pipeline.config.params import read_params
from pipeline.config.prepare import PrepareConfig
from pipeline.ingest import class_groups
from pipeline.ingest import read_source as module
from pipeline.ingest.class_groups import Group
from pipeline.ingest.decode import DecodeOptions
from pipeline.ingest.decode_tasks import DecodeTask
from pipeline.ingest.read_source import ingest
from pipeline.ingest.source import Source
from pipeline.runtime.workers import Pool

CLONE = Path(__file__).parents[3]


@contextmanager
def no_progress(total: int, unit: str, label: str = "") -> Iterator[Callable[[int], object]]:
    yield lambda count: None


class HerePool(Pool):
    """Instead of a cluster: every task goes through pickle, in another order, and back."""

    def run(self, tasks: Any) -> Any:
        for task in reversed(tasks):
            copy = pickle.loads(pickle.dumps(task))
            yield pickle.loads(pickle.dumps(copy.write(copy.compute(copy.read()))))


def read(source: Path, scratch: Path, scheduler: str) -> Source:
    scratch.mkdir()
    chosen = [f"prepare.source={source}", "prepare.size=16", f"prepare.scheduler={scheduler}"]
    config: PrepareConfig = read_params(CLONE / "params.yaml", chosen).prepare
    return ingest(config, scratch, no_progress)


@pytest.fixture
def together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tasks of seven images."""
    monkeypatch.setattr(module, "Pool", HerePool)
    monkeypatch.setattr(class_groups, "MOST", 7)


def test_tasks_give_the_same_source(photos: Path, tmp_path: Path, together: None) -> None:
    (photos / "ant" / "broken.jpg").write_bytes(b"no image")
    (photos / "bee" / "empty.png").write_bytes(b"")
    alone = read(photos, tmp_path / "alone", "null")
    shared = read(photos, tmp_path / "shared", "tcp://127.0.0.1:1")
    assert len(list((tmp_path / "shared" / "decoded").glob("*/*.h5"))) == 5  # 32 images
    assert [path.name for path in (tmp_path / "alone").iterdir()] == ["pixels"]
    assert np.array_equal(shared.images[:], alone.images[:])
    index = np.array([29, 0, 13, 14, 2])
    assert np.array_equal(shared.images.take(index)[1:4], alone.images[:][index[1:4]])
    assert (shared.ids == alone.ids).all() and (shared.image_set(index).ids == shared.image_set(index).keys()).all()
    assert (shared.names, shared.unreadable, shared.paths) == (alone.names, alone.unreadable, alone.paths)


def test_a_folder_with_names_that_are_no_text_is_decoded_here(photos: Path, tmp_path: Path, together: None) -> None:
    (photos / "ant" / "ant_0.png").rename(photos / "ant" / "two\nlines.png")
    source = read(photos, tmp_path / "scratch", "tcp://127.0.0.1:1")
    assert [path.name for path in (tmp_path / "scratch").iterdir()] == ["pixels"] and len(source.ids) == 30


def test_a_folder_of_archives_is_decoded_here(photos: Path, tmp_path: Path, together: None) -> None:
    (tmp_path / "shards").mkdir()
    shutil.make_archive(str(tmp_path / "shards" / "first"), "tar", photos)
    source = read(tmp_path / "shards", tmp_path / "scratch", "tcp://127.0.0.1:1")
    assert [path.name for path in (tmp_path / "scratch").iterdir()] == ["pixels"]
    assert len(source.ids) == 30 and not source.unreadable


def test_a_link_out_of_the_folder_is_unreadable_there_too(photos: Path, tmp_path: Path, together: None) -> None:
    (tmp_path / "outside.png").write_bytes((photos / "ant" / "ant_0.png").read_bytes())
    (photos / "ant" / "link.png").symlink_to(tmp_path / "outside.png")
    assert read(photos, tmp_path / "scratch", "tcp://a:1").unreadable == {
        "ant/link.png": "is a link that leads out of the folder"
    }


def task(photos: Path, folder: Path) -> DecodeTask:
    store = PartStore(folder / "decoded", {"size": 16})
    store.folder.mkdir(exist_ok=True)
    return DecodeTask(Group(np.arange(1)), ("ant_0.png",), ("ant/ant_0.png",), str(photos), 16, DecodeOptions(), store)


def test_a_worker_with_another_decoder_is_refused(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(RecordError, match=r"pillow: worker differs; expected 1\.0, found"):
        replace(task(photos, tmp_path), decoder="1.0").compute(None)


def test_a_worker_that_does_not_see_the_folder_says_so(photos: Path, tmp_path: Path) -> None:
    away = task(photos, tmp_path)
    away.store.folder.rmdir()
    with pytest.raises(StorageError, match=r"does not see the folder\. Put the data folder on a disk"):
        away.write(away.compute(None))
