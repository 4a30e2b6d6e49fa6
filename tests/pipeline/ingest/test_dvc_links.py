"""Links into DVC's cache are followed, others are not."""

import hashlib
from pathlib import Path

import pytest

from pipeline.ingest import dvc_links
from pipeline.ingest.archive import Unreadable, walk


def cached(cache: Path, content: bytes, folders: str = "files/md5") -> Path:
    """A file of the cache, named by its hash."""
    digest = hashlib.md5(content, usedforsecurity=False).hexdigest()
    path = cache / folders / digest[:2] / digest[2:]
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    return path


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    dvc_links._caches.cache_clear()
    (tmp_path / "repo" / ".dvc").mkdir(parents=True)
    (tmp_path / "repo" / "data" / "photos" / "cat").mkdir(parents=True)
    return tmp_path / "repo" / "data" / "photos"


def content_of(photos: Path, target: Path) -> bytes:
    (photos / "cat" / "1.jpg").symlink_to(target)
    return next(walk(str(photos))).read()


@pytest.mark.parametrize("folders", ["files/md5", ""])
def test_a_link_into_the_cache_is_followed(photos: Path, folders: str) -> None:
    assert content_of(photos, cached(photos.parents[1] / ".dvc" / "cache", b"image", folders)) == b"image"


def test_a_cache_that_the_project_names_is_one_too(photos: Path, tmp_path: Path) -> None:
    (photos.parents[1] / ".dvc" / "config").write_text("[cache]\n    dir = ../../elsewhere\n    type = symlink\n")
    assert content_of(photos, cached(tmp_path / "elsewhere", b"image")) == b"image"


@pytest.mark.parametrize("name", ["secret", "files/md5/ab/secret", "files/md5/../../secret"])
def test_other_files_in_and_beside_the_cache_are_refused(photos: Path, name: str) -> None:
    target = photos.parents[1] / ".dvc" / "cache" / name
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(b"secret")
    with pytest.raises(Unreadable, match="leads out of the folder"):
        content_of(photos, target)


def test_a_configuration_inside_the_photos_names_no_cache(photos: Path, tmp_path: Path) -> None:
    (photos / ".dvc").mkdir()
    (photos / ".dvc" / "config").write_text(f"[cache]\n    dir = {tmp_path}/foreign\n")
    with pytest.raises(Unreadable, match="leads out of the folder"):
        content_of(photos, cached(tmp_path / "foreign", b"image"))
