"""Copies of predicted files never overwrite another file, and never land in the folder that is read."""

from pathlib import Path

import pytest

from cache.errors import StorageError
from pipeline.inference.sort_files import check_folder, free_place


def test_another_file_of_the_same_name_gets_a_number(tmp_path: Path) -> None:
    place = tmp_path / "a.png"
    assert free_place(place, b"first") == place
    place.write_bytes(b"first")
    assert free_place(place, b"first") is None  # the same file is there already
    assert free_place(place, b"second") == tmp_path / "a-2.png"
    (tmp_path / "a-2.png").write_bytes(b"second")
    assert free_place(place, b"second") is None
    assert free_place(place, b"third") == tmp_path / "a-3.png"


def test_copies_into_the_folder_that_is_predicted_are_refused(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"sorted: lies in the folder that is predicted. Name a folder outside"):
        check_folder(tmp_path / "sorted", str(tmp_path))
    assert list(tmp_path.iterdir()) == []
    check_folder(tmp_path / "beside", str(tmp_path / "photos"))
    assert (tmp_path / "beside").is_dir()
    check_folder(None, str(tmp_path))


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError, match="sorted: cannot write"):
        check_folder(tmp_path / "file" / "sorted", str(tmp_path / "photos"))
