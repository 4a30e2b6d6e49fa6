"""The part store finds rows again by content, loses none, and refuses what is not its own."""

import os
import pickle
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cache.errors import DamagedFile, ForeignFile, StorageError
from cache.files import remove_stale
from cache.layout import recipe_key
from cache.parts import PartStore, StoreIndex, store_folder
from cache.reader import read_file

RECIPE = {"stage": "featurize", "size": 32}
examples = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def keys_of(*numbers: int) -> np.ndarray:
    return np.array([f"{number:064x}".encode() for number in numbers], dtype="S64")


def rows_of(*numbers: int) -> np.ndarray:
    return np.array([[number, -number, 0.5] for number in numbers], dtype=np.float32).reshape(len(numbers), 3)


@pytest.fixture
def parts(tmp_path: Path) -> PartStore:
    return PartStore(tmp_path / "features", RECIPE)


def test_the_store_is_where_the_variable_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert store_folder() == tmp_path / "store"
    monkeypatch.setenv("AUGCACHE_STORE", "~/rows")
    assert store_folder() == Path.home() / "rows"
    monkeypatch.delenv("AUGCACHE_STORE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert store_folder().name == "augcache"


def test_rows_come_back_in_the_order_asked_for(parts: PartStore) -> None:
    parts.write(keys_of(1, 2, 3), rows_of(1, 2, 3))
    parts.write(keys_of(9, 8), rows_of(9, 8))
    index = parts.open()
    assert np.array_equal(index.rows(keys_of(8, 2, 2, 9, 1))[:], rows_of(8, 2, 2, 9, 1))
    assert index.missing(keys_of(1, 7, 9, 7, 6)).tolist() == [1, 4]


def test_opening_again_reads_only_what_is_new(parts: PartStore, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []

    def counted(path: Path, kind: str) -> Any:
        opened.append(path.name)
        return read_file(path, kind)

    monkeypatch.setattr("cache.parts.read_file", counted)
    first = parts.write(keys_of(1, 2), rows_of(1, 2))
    assert parts.open().missing(keys_of(1, 2, 3)).tolist() == [2]
    second = parts.write(keys_of(3), rows_of(3))
    assert np.array_equal(parts.open().rows(keys_of(3, 1))[:], rows_of(3, 1))
    assert opened == [first.name, second.name]
    assert PartStore(parts.folder, parts.recipe) == parts  # what was opened is no part of what it is
    other = pickle.loads(pickle.dumps(parts))
    assert len(pickle.dumps(parts)) < 1000 and other.open().missing(keys_of(1)).tolist() == []
    first.unlink()
    assert parts.open().missing(keys_of(1, 3)).tolist() == [0]


def test_a_part_that_changes_after_it_was_opened_is_looked_at_again(parts: PartStore) -> None:
    path = parts.write(keys_of(1, 2), rows_of(1, 2))
    parts.open()
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(1, 1))
    with pytest.raises(DamagedFile):
        parts.open().rows(keys_of(1, 2))[:]


def test_recipes_do_not_see_each_other(parts: PartStore, tmp_path: Path) -> None:
    parts.write(keys_of(1), rows_of(1))
    other = PartStore(tmp_path / "features", RECIPE | {"size": 64})
    assert parts.path == tmp_path / "features" / recipe_key(RECIPE)[:32]
    assert other.path != parts.path
    assert other.open().missing(keys_of(1)).tolist() == [0]


def test_an_empty_store_lacks_everything_and_gives_nothing(parts: PartStore) -> None:
    index = parts.open()
    assert index.missing(keys_of(3, 3, 1)).tolist() == [0, 2]
    assert index.missing(keys_of()).tolist() == []
    assert len(index.rows(keys_of())) == 0
    with pytest.raises(DamagedFile, match=r"rows are missing from the part store\. Run the same command again\."):
        index.rows(keys_of(1))
    assert not parts.path.exists()


def test_an_empty_part_holds_nothing(parts: PartStore) -> None:
    parts.write(keys_of(), rows_of())
    parts.write(keys_of(4), rows_of(4))
    assert np.array_equal(parts.open().rows(keys_of(4, 4))[:], rows_of(4, 4))
    assert parts.open().rows(keys_of())[:].shape == (0, 3)


def test_the_same_part_written_again_is_the_same_file(parts: PartStore) -> None:
    path = parts.write(keys_of(1, 2), rows_of(1, 2))
    before = path.read_bytes()
    assert parts.write(keys_of(1, 2), rows_of(1, 2)) == path
    assert path.read_bytes() == before
    assert list(parts.path.iterdir()) == [path]


def test_rows_taken_over_from_elsewhere_serve_as_well(parts: PartStore, tmp_path: Path) -> None:
    elsewhere = PartStore(tmp_path / "old", RECIPE)
    elsewhere.write(keys_of(1, 2), rows_of(1, 2))
    (source,) = elsewhere.open().sources
    parts.write(keys_of(3), rows_of(3))
    index = parts.open().joined(keys_of(1, 2), source)
    assert np.array_equal(index.rows(keys_of(2, 3, 1))[:], rows_of(2, 3, 1))


@examples
@given(
    chunks=st.lists(st.lists(st.integers(0, 30), max_size=8), max_size=5),
    asked=st.lists(st.integers(0, 40), max_size=30),
)
def test_what_is_missing_and_what_is_found_is_everything(
    chunks: list[list[int]], asked: list[int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    store = PartStore(tmp_path_factory.mktemp("store"), RECIPE)
    for chunk in chunks:
        store.write(keys_of(*chunk), rows_of(*chunk))
    index = store.open()
    held = {number for chunk in chunks for number in chunk}
    missing = index.missing(keys_of(*asked)).tolist()
    assert missing == [
        place for place, number in enumerate(asked) if number not in held and number not in asked[:place]
    ]
    present = [number for number in asked if number in held]
    rows = index.rows(keys_of(*present))
    assert len(rows) == len(present)
    if present:
        assert np.array_equal(rows[:], rows_of(*present))
        assert np.array_equal(rows[::-2], rows_of(*present)[::-2])


def test_parts_of_another_recipe_or_shape_are_refused(parts: PartStore, tmp_path: Path) -> None:
    other = PartStore(tmp_path / "features", {"stage": "other"}).write(keys_of(1), rows_of(1))
    parts.path.mkdir()
    foreign = parts.path / "0.h5"
    shutil.copy(other, foreign)
    message = (
        rf"0\.h5: part belongs to another recipe; expected {parts.path.name}, found {other.parent.name}\. Delete it"
    )
    with pytest.raises(ForeignFile, match=message):
        parts.open()
    foreign.unlink()
    parts.write(keys_of(1), rows_of(1))
    parts.write(keys_of(2), np.zeros((1, 4), np.float32))
    with pytest.raises(DamagedFile, match=r"parts of one recipe differ in shape; found \[\(3,\), \(4,\)\]"):
        parts.open().rows(keys_of(1))


def test_a_damaged_part_is_named_when_opened_and_a_damaged_row_when_read(parts: PartStore) -> None:
    path = parts.write(keys_of(1, 2), rows_of(1, 2))
    content = path.read_bytes()
    path.write_bytes(content[:-1])
    with pytest.raises(DamagedFile, match=rf"{path.name}: wrong length; .*Delete it"):
        parts.open()
    path.write_bytes(content)
    index = parts.open()
    place = content.index(rows_of(2).tobytes())
    path.write_bytes(content[:place] + b"\xff" + content[place + 1 :])
    assert np.array_equal(index.rows(keys_of(1))[:], rows_of(1))
    with pytest.raises(DamagedFile, match=rf"{path.name} row 1: row does not match its checksum"):
        index.rows(keys_of(1, 2))[:]


def test_a_part_that_disappears_while_it_is_used_is_one_line(parts: PartStore) -> None:
    path = parts.write(keys_of(1), rows_of(1))
    rows = parts.open().rows(keys_of(1))
    path.unlink()
    with pytest.raises(StorageError, match=rf"{path.name}: no such file"):
        rows[:]


def dead_process() -> int:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    return child.pid


def test_half_files_of_the_dead_are_removed_and_those_of_the_living_kept(parts: PartStore) -> None:
    parts.path.mkdir(parents=True)
    host = socket.gethostname()
    dead = parts.path / f"a.h5.{host}.{dead_process()}.77.partial"
    kept = [
        parts.path / f"a.h5.{host}.{os.getpid()}.77.partial",
        parts.path / f"a.h5.{host}.{os.getppid()}.77.partial",
        parts.path / f"a.h5.another-{host}.{dead_process()}.77.partial",
        parts.path / f"a.h5.{host}.nobody.77.partial",
        parts.path / "notes.partial",
    ]
    for path in (dead, *kept):
        path.write_bytes(b"half")
    parts.open()
    assert sorted(parts.path.iterdir()) == sorted(kept)
    assert remove_stale(parts.path) == 0
    assert remove_stale(parts.path / "absent") == 0


FILL = """
import sys
import numpy as np
from pathlib import Path
from cache.parts import PartStore
store = PartStore(Path(sys.argv[1]), {"stage": "featurize", "size": 32})
for step in range(int(sys.argv[2]), 400, 10):
    numbers = range(step, step + 15)
    keys = np.array([f"{number:064x}".encode() for number in numbers], dtype="S64")
    missing = store.open().missing(keys)
    if len(missing):
        rows = np.array([[numbers[place], -numbers[place], 0.5] for place in missing], dtype=np.float32)
        store.write(keys[missing], rows)
"""


def test_processes_that_fill_one_store_at_once_lose_nothing(parts: PartStore) -> None:
    command: list[Any] = [sys.executable, "-c", FILL, parts.folder]
    filling = [subprocess.Popen([*command, str(start)], stderr=subprocess.PIPE) for start in (0, 0, 5)]
    assert [(process.communicate(timeout=60)[1], process.returncode) for process in filling] == [(b"", 0)] * 3
    numbers = list(range(405))
    index = parts.open()
    assert index.missing(keys_of(*numbers)).tolist() == []
    assert np.array_equal(index.rows(keys_of(*numbers))[:], rows_of(*numbers))
    assert not list(parts.path.glob("*.partial"))


def test_opening_a_store_renews_its_age_and_a_read_only_one_is_read(
    parts: PartStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts.write(keys_of(1), rows_of(1))
    os.utime(parts.path, (0, 0))
    parts.open()
    assert parts.path.stat().st_mtime > 0

    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "utime", refuse)
    assert isinstance(parts.open(), StoreIndex)
