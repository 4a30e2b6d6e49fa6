"""What the store holds is listed, checked to the last byte, and removed oldest first."""

import os
import socket
import time
from pathlib import Path

import numpy as np
import pytest

from cache.errors import StorageError
from cache.maintenance import (
    StoredRecipe,
    choose_prunable,
    describe,
    list_recipes,
    remove_all_stale,
    remove_parts,
    stored_paths,
    verify,
)
from cache.parts import PartStore
from cache.sealed import read_sealed, write_sealed

DAY = 86400
RECIPE = {
    "stage": "featurize",
    "backbone": "efficientnet-b0",
    "weights": "1a2b3c4d" + "0" * 56,
    "mean": [0.5, 0.5, 0.5],
    "size": 224,
    "libraries": {"torch": "2.15.0"},
}


@pytest.fixture
def filled(store: Path) -> tuple[list[Path], list[Path]]:
    """Two recipes of three parts each: the parts of the one last used 10 days ago, and of the one used today."""
    folders: list[list[Path]] = []
    for size in (224, 64):
        parts = PartStore(store / "features", RECIPE | {"size": size})
        paths = []
        for number in range(3):
            key = np.array([b"%064d" % number])
            paths.append(parts.write(key, np.full((1, 2), number, np.float32)))
            os.utime(paths[-1], (1000 + number, 1000 + number))
        folders.append(paths)
    old = time.time() - 10 * DAY
    os.utime(folders[0][0].parent, (old, old))
    return folders[0], folders[1]


def test_recipes_are_listed_with_what_they_hold(store: Path, filled: tuple[list[Path], list[Path]]) -> None:
    size = sum(path.stat().st_size for path in filled[0])
    recent, old = list_recipes(store)
    assert old == StoredRecipe(filled[0][0].parent, old.description, 3, 3, size, old.used, 0)
    assert (round((time.time() - old.used) / DAY), round((time.time() - recent.used) / DAY)) == (10, 0)
    assert old.description == "stage featurize, backbone efficientnet-b0, size 224, weights 1a2b3c4d, torch 2.15.0"
    assert describe({}) == "empty recipe"


def test_listing_passes_over_what_is_no_part(store: Path, filled: tuple[list[Path], list[Path]]) -> None:
    (store / "locks").mkdir()
    (store / "locks" / "a.lock").touch()
    (store / "features" / "notes").mkdir()
    (store / "features" / ("0" * 32)).mkdir()
    assert len(list_recipes(store)) == 2
    assert stored_paths(store) == sorted(filled[0] + filled[1])
    assert list_recipes(store / "absent") == []


def test_listing_counts_damaged_parts(store: Path, filled: tuple[list[Path], list[Path]]) -> None:
    filled[1][0].write_bytes(b"x")
    assert [(kept.parts, kept.rows, kept.damaged) for kept in list_recipes(store)] == [(3, 2, 1), (3, 3, 0)]
    for path in filled[1]:
        path.write_bytes(b"x")
    assert list_recipes(store)[0].description == "no part can be read"


def test_verify_reads_every_byte_and_names_what_is_wrong(store: Path, filled: tuple[list[Path], list[Path]]) -> None:
    seen: list[int] = []
    assert verify(store, seen.append) == []
    assert seen == [1] * 6
    row = filled[0][1]
    cut = filled[1][0]
    moved = filled[1][1]
    content = row.read_bytes()
    row.write_bytes(content.replace(np.ones(2, np.float32).tobytes(), np.zeros(2, np.float32).tobytes()))
    size = cut.stat().st_size
    cut.write_bytes(cut.read_bytes()[:-5])
    stray = filled[0][0].parent / "stray.h5"
    moved.rename(stray)
    assert sorted(verify(store)) == sorted(
        [
            f"{row} row 0: row does not match its checksum. Delete it and run the stage that makes it again.",
            f"{cut}: wrong length; expected {size} bytes, found {size - 5:,} bytes. "
            "Delete it and run the stage that makes it again.",
            f"{stray}: part belongs to another recipe; expected {stray.parent.name}, found {moved.parent.name}. "
            "Delete it and run the stage that makes it again.",
        ]
    )


def test_pruning_by_age_takes_recipes_not_used_for_so_long(store: Path, filled: tuple[list[Path], list[Path]]) -> None:
    assert choose_prunable(store, older_than=11 * DAY) == []
    assert choose_prunable(store, older_than=9 * DAY) == filled[0]
    assert choose_prunable(store, older_than=0) == filled[0] + filled[1]
    assert choose_prunable(store) == []


def test_pruning_by_size_takes_the_least_recently_used_first(
    store: Path, filled: tuple[list[Path], list[Path]]
) -> None:
    sizes = [path.stat().st_size for path in filled[0] + filled[1]]
    total = sum(sizes)
    assert choose_prunable(store, at_most=total) == []
    assert choose_prunable(store, at_most=total - 1) == filled[0][:1]
    assert choose_prunable(store, at_most=total - sum(sizes[:4])) == filled[0] + filled[1][:1]
    assert choose_prunable(store, older_than=9 * DAY, at_most=sum(sizes[3:]) - 1) == filled[0] + filled[1][:1]
    assert choose_prunable(store, at_most=0) == filled[0] + filled[1]


def test_removing_keeps_the_age_of_what_is_left_and_no_empty_folders(
    store: Path, filled: tuple[list[Path], list[Path]]
) -> None:
    used = filled[0][0].parent.stat().st_mtime
    remove_parts([filled[0][0], *filled[1]])
    assert stored_paths(store) == sorted(filled[0][1:])
    assert filled[0][0].parent.stat().st_mtime == used
    assert not filled[1][0].parent.exists()
    remove_parts([])


def test_a_part_that_cannot_be_removed_is_one_line(store: Path) -> None:
    stubborn = store / "features" / ("0" * 32) / "folder.h5"
    stubborn.mkdir(parents=True)
    with pytest.raises(StorageError, match=r"folder\.h5: cannot remove: "):
        remove_parts([stubborn])


def test_half_files_of_the_dead_go_everywhere_in_the_store(store: Path, filled: tuple[list[Path], list[Path]]) -> None:
    living = filled[0][0].parent / f"a.h5.{socket.gethostname()}.{os.getpid()}.1.partial"
    dead = filled[1][0].parent / f"a.h5.{socket.gethostname()}.{2**22 + 1}.1.partial"
    for path in (living, dead):
        path.touch()
    assert remove_all_stale(store) == 1
    assert living.exists()
    assert not dead.exists()


def test_checkpoints_are_listed_verified_and_pruned_like_recipes(
    store: Path, filled: tuple[list[Path], list[Path]]
) -> None:
    checkpoint = store / "checkpoints" / "pretrain" / f"{'ab' * 16}.pt"
    write_sealed(checkpoint, b"state")
    assert read_sealed(checkpoint) == b"state"
    then = time.time() - 20 * DAY
    os.utime(checkpoint, (then, then))
    listed = list_recipes(store)[-1]
    assert (listed.description, listed.parts, listed.bytes) == ("checkpoint of pretrain", 1, 37)
    assert checkpoint in stored_paths(store) and verify(store) == []
    assert choose_prunable(store, older_than=15 * DAY) == [checkpoint]
    total = sum(path.stat().st_size for path in stored_paths(store))
    assert choose_prunable(store, at_most=total - 1) == [checkpoint]
    checkpoint.write_bytes(checkpoint.read_bytes()[:-1])
    (wrong,) = verify(store)
    assert wrong.startswith(f"{checkpoint}: file does not match its checksum")
    remove_parts([checkpoint])
    assert not checkpoint.exists()


def test_exported_networks_are_listed_verified_and_pruned_like_recipes(store: Path) -> None:
    export = store / "engines" / f"{'ab' * 32}.onnx"
    write_sealed(export, b"network")
    half = export.with_name(f"a.onnx.{socket.gethostname()}.{2**22 + 1}.1.partial")
    half.touch()
    then = time.time() - 20 * DAY
    os.utime(export, (then, then))
    (listed,) = list_recipes(store)
    assert (listed.description, listed.parts, listed.bytes) == ("backbone exported to ONNX", 1, 32 + len(b"network"))
    assert stored_paths(store) == [export] and verify(store) == []
    assert choose_prunable(store, older_than=15 * DAY) == choose_prunable(store, at_most=0) == [export]
    assert choose_prunable(store, older_than=25 * DAY) == []
    assert remove_all_stale(store) == 1 and not half.exists()
    export.write_bytes(export.read_bytes()[:-1])
    (wrong,) = verify(store)
    assert wrong.startswith(f"{export}: file does not match its checksum")
    remove_parts([export])
    assert not export.exists()
