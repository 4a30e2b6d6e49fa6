"""A file is complete or absent, whatever fails while it is written; equal content gives equal bytes."""

import errno
import os
import resource
import shutil
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import FrameType, SimpleNamespace
from typing import Any

import h5py
import numpy as np
import pytest

import cache.steady_file as steady_file
import cache.writer as writer
from cache.errors import RecordError, StorageError
from cache.files import check_space, storage_error
from cache.reader import read_features, read_images
from cache.records import FeatureSet, ImageSet
from cache.steady_file import SteadyFile
from cache.writer import write_features, write_file, write_images

Make = Callable[..., Any]
KEYS = np.array([b"a", b"b"], dtype="S64")


def test_equal_content_gives_equal_bytes_whatever_its_container(make_images: Make, tmp_path: Path) -> None:
    images: ImageSet = make_images(5)
    write_images(tmp_path / "a.h5", images)
    write_images(tmp_path / "deep" / "b.h5", replace(images, ids=images.ids.astype("S80").astype("S64")))
    write_images(tmp_path / "c.h5", read_images(tmp_path / "a.h5"))
    contents = {path.read_bytes() for path in tmp_path.rglob("*.h5")}
    assert len(contents) == 1


def test_equal_bytes_whatever_the_size_of_blocks(
    make_features: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_features(tmp_path / "a.h5", make_features(50))
    monkeypatch.setattr(writer, "rows_per_block", lambda shape, dtype: 3)
    write_features(tmp_path / "b.h5", make_features(50))
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()


def test_any_hdf5_program_reads_the_file(make_features: Make, tmp_path: Path) -> None:
    features: FeatureSet = make_features(5)
    write_features(tmp_path / "a.h5", features)
    with h5py.File(tmp_path / "a.h5") as file:
        assert sorted(file) == ["digests", "ids", "labels", "meta", "rows"]
        assert np.array_equal(file["rows"][...], features.features)
        assert file["labels"][...].tolist() == [0, 1, 2, 0, 1]


def test_rows_that_are_not_finite_are_named(make_features: Make, tmp_path: Path) -> None:
    for bad in (np.nan, np.inf, -np.inf):
        features: FeatureSet = make_features(5)
        features.features[3, 2] = bad
        with pytest.raises(RecordError, match=r"row 3: features hold NaN or infinity\. Check weights and input\."):
            write_features(tmp_path / "a.h5", features)
    assert list(tmp_path.iterdir()) == []


def test_rows_and_columns_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with pytest.raises(RecordError, match=r"a\.h5: rows have the wrong type; expected .*<f4, found <f8"):
        write_file(path, "part", np.zeros((2, 3)), {"keys": KEYS}, {"recipe": {}})
    with pytest.raises(RecordError, match=r"a\.h5: keys do not fit the rows; expected 3, found 2"):
        write_file(path, "part", np.zeros((3, 3), np.float32), {"keys": KEYS}, {"recipe": {}})
    with pytest.raises(RecordError, match=r"keys are too long; expected at most 64 bytes each, found 65 bytes"):
        write_file(path, "part", np.zeros((2, 3), np.float32), {"keys": KEYS.astype("S65")}, {"recipe": {}})
    assert list(tmp_path.iterdir()) == []


@contextmanager
def failing_at(step: int, fail: Callable[[], object]) -> Iterator[list[int]]:
    """Call `fail` before the given line that runs in the writer; yields how many lines have run, in a list."""
    ran = [0]

    def trace(frame: FrameType, event: str, _: object) -> Any:
        if frame.f_code.co_filename not in (writer.__file__, steady_file.__file__):
            return None
        if event == "line":
            ran[0] += 1
            if ran[0] == step:
                sys.settrace(None)
                fail()
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield ran
    finally:
        sys.settrace(before)


def raise_full() -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def raise_interrupt() -> None:
    raise KeyboardInterrupt


class SpoiltTidying(Exception):
    """The file was written before the error came."""


def count_lines(write: Callable[[], None]) -> int:
    with failing_at(0, raise_full) as ran:
        write()
    return ran[0]


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize(
    ("fail", "errors"), [(raise_full, (StorageError, OSError)), (raise_interrupt, (KeyboardInterrupt,))]
)
def test_an_error_before_any_line_leaves_the_old_or_the_new_file(
    make_features: Make, tmp_path: Path, fail: Callable[[], object], errors: tuple[type[BaseException], ...], old: bool
) -> None:
    first = make_features(5, seed=1)
    second = make_features(5, seed=2)
    path = tmp_path / "a.h5"
    lines = count_lines(lambda: write_features(path, second))
    complete = path.read_bytes()
    write_features(path, first)
    before = path.read_bytes()
    assert lines > 80
    for step in range(1, lines + 1):
        path.unlink()
        if old:
            path.write_bytes(before)
        with pytest.raises((*errors, SpoiltTidying)), failing_at(step, fail):
            write_features(path, second)
            assert step > lines - 25
            raise SpoiltTidying  # an error in the last lines, which tidy up, does not reach us
        content = path.read_bytes() if path.exists() else None
        assert content in (complete, before if old else None), f"line {step}"
        partials = list(tmp_path.glob("*.partial"))
        assert not partials or step > lines - 25, f"line {step} leaves {partials}"  # the tidying itself failed
        for partial in partials:
            partial.unlink()
        path.write_bytes(before)


def test_death_before_any_line_leaves_the_old_or_the_new_file(make_features: Make, tmp_path: Path) -> None:
    first = make_features(5, seed=1)
    second = make_features(5, seed=2)
    path = tmp_path / "a.h5"
    lines = count_lines(lambda: write_features(path, second))
    complete = path.read_bytes()
    write_features(path, first)
    before = path.read_bytes()
    seen = set()
    for step in range(1, lines + 1, 3):
        child = os.fork()
        if not child:
            with failing_at(step, lambda: os.kill(os.getpid(), signal.SIGKILL)):
                write_features(path, second)
            os._exit(0)
        assert os.waitpid(child, 0)[1] == signal.SIGKILL
        seen.add(path.read_bytes())
        path.write_bytes(before)
    assert seen == {before, complete}


def test_a_write_that_fails_at_any_byte_leaves_nothing_and_says_why(make_features: Make, tmp_path: Path) -> None:
    features = make_features(5)
    path = tmp_path / "a.h5"
    write_features(path, features)
    size = path.stat().st_size
    path.unlink()
    unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
    for limit in range(0, size, 17):
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, unlimited[1]))
        try:
            with pytest.raises(StorageError, match=r"a\.h5: cannot write: File too large"):
                write_features(path, features)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
        assert list(tmp_path.iterdir()) == [], f"at byte {limit}"


def test_a_disk_that_fills_up_at_any_point_is_one_line_and_no_crash(
    tiny_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # HDF5 itself crashed the process here: it writes when it closes, and cannot bear that this fails.
    monkeypatch.setattr(writer, "check_space", lambda folder, needed: None)
    written = []
    for rows in range(250, 400):
        keys = np.array([b"%d" % row for row in range(rows)], dtype="S64")
        try:
            write_file(tiny_disk / "a.h5", "part", np.zeros((rows, 100), np.float32), {"keys": keys}, {"recipe": {}})
            written.append(rows)
            (tiny_disk / "a.h5").unlink()
        except StorageError as error:
            assert "a.h5: cannot write: No space left on device; expected 0." in str(error)
            assert str(error).endswith("Free some space and run the same command again: finished work is kept.")
        assert list(tiny_disk.iterdir()) == []
    assert written == list(range(250, written[-1] + 1))
    assert written[-1] < 399


def test_too_little_space_is_refused_before_a_byte_is_written(
    make_images: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=1 << 16))
    with pytest.raises(
        StorageError, match=r"too little disk space; expected 0\.2 MiB free, found 0\.1 MiB\. Free some"
    ):
        write_images(tmp_path / "new" / "a.h5", make_images(1000))
    assert list((tmp_path / "new").iterdir()) == []
    with pytest.raises(StorageError, match=r"no/such/folder: too little disk space"):
        check_space(tmp_path / "no" / "such" / "folder", 1 << 17)


def test_a_folder_that_is_a_file_is_one_line(make_images: Make, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match=r"file/a\.h5: cannot write: File exists"):
        write_images(tmp_path / "file" / "a.h5", make_images(1))


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.ENOSPC, "No space left on device; expected 3.0 MiB free. Free some space and run the same command"),
        (errno.EDQUOT, "Disk quota exceeded; expected 3.0 MiB free. Free some space"),
        (errno.EROFS, "Read-only file system. Choose a folder that can be written to."),
        (errno.EACCES, "Permission denied. Choose a folder that can be written to, or change its permissions."),
        (errno.ENOENT, "No such file or directory. It went away while it was in use: run the same command again."),
        (errno.EIO, "Input/output error"),
    ],
)
def test_the_systems_reason_comes_with_its_remedy(number: int, remedy: str) -> None:
    error = storage_error(Path("x.h5"), OSError(number, "anything"), needed=3 << 20)
    assert str(error).startswith(f"x.h5: cannot write: {remedy}")


def test_threads_of_one_process_do_not_share_a_partial_file(make_images: Make, tmp_path: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    images: ImageSet = make_images(200, size=16)
    write_images(tmp_path / "expected.h5", images)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: write_images(tmp_path / "a.h5", images), range(40)))
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "expected.h5").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.h5", "expected.h5"]


def test_a_partial_file_names_its_machine_process_and_thread(
    make_features: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replaced: list[str] = []
    monkeypatch.setattr(writer.os, "replace", lambda source, target: replaced.append(Path(source).name))
    write_features(tmp_path / "a.h5", make_features(2))
    assert replaced[0].startswith(f"a.h5.{socket.gethostname()}.{os.getpid()}.")
    assert list(tmp_path.iterdir()) == []
    monkeypatch.undo()
    write_features(tmp_path / "a.h5", make_features(2))
    assert len(read_features(tmp_path / "a.h5")) == 2


@pytest.mark.parametrize("call", ["write", "seek", "truncate", "flush", "tell", "readinto"])
@pytest.mark.parametrize("moment", [1, 2, 5])
def test_an_interrupt_inside_a_call_of_hdf5_is_never_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, moment: int
) -> None:
    """An exception that is raised in a callback may vanish in HDF5, and the run would go on."""
    original = getattr(SteadyFile, call)
    calls = []

    def interrupted(self: SteadyFile, *arguments: Any) -> Any:
        calls.append(call)
        if len(calls) == moment:
            signal.raise_signal(signal.SIGINT)
        return original(self, *arguments)

    monkeypatch.setattr(SteadyFile, call, interrupted)
    keys = np.array([b"%064d" % number for number in range(3)])
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job ignores it
    try:
        write_file(tmp_path / "part.h5", "part", np.ones((3, 4), np.float32), {"keys": keys}, {"recipe": {}})
    except KeyboardInterrupt:
        assert list(tmp_path.iterdir()) == []
    else:
        assert len(calls) < moment  # it was never called so often
    finally:
        signal.signal(signal.SIGINT, before)
