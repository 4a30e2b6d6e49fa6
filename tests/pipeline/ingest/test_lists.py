"""Lists of files for people: whole, and gone when there is nothing to list."""

from pathlib import Path

import pytest

from cache.errors import InputError
from pipeline.ingest.lists import write_unreadable


def test_the_list_of_unreadable_images_is_whole_and_goes_away(tmp_path: Path) -> None:
    path = tmp_path / "runs" / "unreadable.txt"
    unreadable = {f"a/{n}.png": "is empty" for n in range(5)}
    with pytest.raises(InputError, match=r"5 images cannot be read: a/0.png is empty; .*; \.\.\.\. All are listed in"):
        write_unreadable(unreadable, path, refuse=True)
    assert path.read_text() == "".join(f"a/{n}.png: is empty\n" for n in range(5))
    write_unreadable(unreadable, path, refuse=False)
    write_unreadable({}, path, refuse=True)
    assert not path.exists()
