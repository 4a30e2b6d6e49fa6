import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cache.errors import DamagedFile, InputError, StorageError
from pipeline.config.params import read_params
from pipeline.config.prepare import PrepareConfig
from pipeline.ingest import read_source as module
from pipeline.ingest import tar_stream
from pipeline.ingest.choose_rows import choose_rows
from pipeline.ingest.decode import Decoded, DecodeOptions, decode_image
from pipeline.ingest.listing import list_source
from pipeline.ingest.read_source import ingest
from pipeline.ingest.source import Source
from pipeline.ingest.split import without_looking

CLONE = Path(__file__).parents[3]


@contextmanager
def no_progress(total: int, unit: str, label: str = "") -> Iterator[Callable[[int], object]]:
    yield lambda count: None


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    folder = tmp_path / "scratch"
    folder.mkdir()
    return folder


def settings(source: Path, *overrides: str) -> PrepareConfig:
    chosen = [f"prepare.source={source}", "prepare.size=16", *(f"prepare.{override}" for override in overrides)]
    return read_params(CLONE / "params.yaml", chosen).prepare


def read(source: Path, scratch: Path, *overrides: str) -> Source:
    return ingest(settings(source, *overrides), scratch, no_progress)


def test_ids_are_the_keys_of_the_prepared_set(photos: Path, scratch: Path) -> None:
    gathered = read(photos, scratch)
    images = gathered.image_set(np.arange(30))
    assert (images.ids == images.keys()).all()
    assert images.images[:].shape == (30, 16, 16, 3)


def test_pixels_are_those_of_the_named_file(photos: Path, scratch: Path) -> None:
    random = np.random.default_rng(5)
    pixels = random.integers(0, 256, (16, 16, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(photos / "bee" / "known.png")
    gathered = read(photos, scratch)
    row = gathered.names.index("bee/known.png")
    assert (gathered.images[row : row + 1][0] == pixels).all()
    assert (gathered.images.take(np.array([row]))[:][0] == pixels).all()


def test_an_archive_gives_the_same_as_its_folder(photos: Path, scratch: Path, tmp_path: Path) -> None:
    folder = read(photos, scratch)
    for kind in ("zip", "tar", "gztar", "xztar"):
        packed = shutil.make_archive(str(tmp_path / "packed"), kind, photos.parent, photos.name)
        archived = read(Path(packed), scratch)
        assert archived.names == folder.names
        assert (archived.ids == folder.ids).all()
        assert (archived.images[:] == folder.images[:]).all()


def test_renaming_a_file_changes_no_id(photos: Path, scratch: Path) -> None:
    before = set(read(photos, scratch).ids.tolist())
    (photos / "ant" / "ant_3.png").rename(photos / "ant" / "zebra.png")
    assert set(read(photos, scratch).ids.tolist()) == before


def test_what_cannot_be_read_is_listed_whole_with_reasons(photos: Path, scratch: Path) -> None:
    (photos / "ant" / "broken.jpg").write_bytes(b"no image")
    (photos / "bee" / "empty.png").write_bytes(b"")
    (photos / "cow" / "photo.heic").write_bytes(b"\0\0\0\x18ftypheic")
    (photos / "stray.png").write_bytes((photos / "ant" / "ant_0.png").read_bytes())
    gathered = read(photos, scratch)
    assert gathered.unreadable.pop("cow/photo.heic")  # for a reason that depends on the installed plugins
    assert gathered.unreadable == {
        "ant/broken.jpg": "is no image, or of a format that is not read",
        "bee/empty.png": "is empty",
        "stray.png": "lies in no class folder",
    }
    assert len(gathered.names) == len(gathered.ids) == len(gathered.images) == 30


def test_left_out_images_are_not_even_decoded(make_photos: Callable[..., Path], tmp_path: Path, scratch: Path) -> None:
    make_photos(tmp_path / "set" / "train")
    make_photos(tmp_path / "set" / "test", seed=1)
    (tmp_path / "set" / "test" / "ant" / "broken.png").write_bytes(b"")
    gathered = read(tmp_path / "set", scratch)
    assert (gathered.passed_over.left_out, gathered.unreadable, len(gathered.names)) == ({"test": 31}, {}, 30)


def test_tiny_imagenet_layout(make_photos: Callable[..., Path], tmp_path: Path, scratch: Path) -> None:
    root = tmp_path / "tiny-imagenet-200"
    make_photos(tmp_path / "made", ("n01", "n02"), 4)
    for wnid in ("n01", "n02"):
        shutil.copytree(tmp_path / "made" / wnid, root / "train" / wnid / "images")
        (root / "train" / wnid / f"{wnid}_boxes.txt").write_text("a box")
    make_photos(tmp_path / "held", ("n01", "n02"), 1, seed=9)
    (root / "val" / "images").mkdir(parents=True)
    shutil.copy(tmp_path / "held" / "n01" / "n01_0.png", root / "val" / "images" / "val_0.JPEG")
    shutil.copy(tmp_path / "held" / "n02" / "n02_0.png", root / "val" / "images" / "val_1.JPEG")
    (root / "val" / "val_annotations.txt").write_text("val_0.JPEG\tn01\t0\t0\t1\t1\nval_1.JPEG\tn02\t0\t0\t1\t1\n")
    gathered = read(root, scratch, "test=official")
    held = {name: gathered.classes[label] for name, label in zip(gathered.names, gathered.labels, strict=True)}
    assert held["val/images/val_1.JPEG"] == "n02"
    assert np.bincount(gathered.held).tolist() == [8, 0, 2]
    packed = shutil.make_archive(str(tmp_path / "packed"), "xztar", root.parent, root.name)
    assert (read(Path(packed), scratch, "test=official").ids == gathered.ids).all()


def test_a_source_that_fits_no_layout_is_refused_by_name(tmp_path: Path, scratch: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="empty: holds no images"):
        read(tmp_path / "empty", scratch)


def test_too_little_disk_is_found_before_work_starts(
    photos: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needed: list[int] = []

    def full(folder: Path, bytes_needed: int) -> None:
        needed.append(bytes_needed)
        raise StorageError("too little disk space")

    monkeypatch.setattr(module, "check_space", full)
    with pytest.raises(StorageError):
        read(photos, scratch)
    assert needed == [2 * 30 * 16 * 16 * 3]
    assert not list(scratch.iterdir())


def test_a_source_that_shrinks_between_the_walks_is_refused(
    photos: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listing = list_source(str(photos))
    listing.names.add("ant/ghost.png")
    monkeypatch.setattr(module, "list_source", lambda source, spool: listing)
    with pytest.raises(InputError, match=r"changed while it was read; found ant/ghost.png is gone"):
        read(photos, scratch)


def test_a_spool_that_is_cut_short_is_refused(photos: Path, scratch: Path) -> None:
    gathered = read(photos, scratch)
    with (scratch / "pixels").open("r+b") as raw:
        raw.truncate(100)
    with pytest.raises(DamagedFile, match="pixels: file is shorter than when it was opened"):
        gathered.images[:]


@pytest.mark.parametrize("kind", ["gztar", "bztar", "xztar"])
def test_a_packed_archive_is_unpacked_once_and_leaves_nothing(
    photos: Path, scratch: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    packed = shutil.make_archive(str(tmp_path / "packed"), kind, photos.parent, photos.name)
    expected = read(photos, scratch)
    opened = []

    def counted(unpack: Callable[[Path], object]) -> Callable[[Path], object]:
        return lambda path: (opened.append(path), unpack(path))[1]

    counting = {magic: counted(unpack) for magic, unpack in tar_stream.UNPACKERS.items()}
    monkeypatch.setattr(tar_stream, "UNPACKERS", counting)
    assert (read(Path(packed), scratch).ids == expected.ids).all()
    assert opened == [Path(packed)]
    assert [path.name for path in scratch.iterdir()] == ["pixels"]


def test_a_disk_that_cannot_take_what_is_unpacked_is_one_line(
    photos: Path, scratch: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed = shutil.make_archive(str(tmp_path / "packed"), "gztar", photos.parent, photos.name)

    def refuse(self: object, content: bytes) -> None:
        raise StorageError("cannot write: No space left on device", where="unpacked.tar")

    monkeypatch.setattr(tar_stream.Spool, "write", refuse)
    with pytest.raises(StorageError, match=r"unpacked\.tar: cannot write"):
        read(Path(packed), scratch)
    monkeypatch.undo()
    monkeypatch.setattr("cache.files.free_space", lambda folder: 100)
    with pytest.raises(StorageError, match="too little disk space"):
        read(Path(packed), scratch)


def decoded_names(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of all files that are decoded from now on."""
    names: list[str] = []

    def noted(content: bytes, size: int, options: DecodeOptions | None, name: str) -> Decoded:
        names.append(name)
        return decode_image(content, size, options, name)

    monkeypatch.setattr("pipeline.ingest.pixel_file.decode_image", noted)
    return names


def test_a_limit_decodes_only_what_it_keeps_unless_duplicates_are_looked_for(
    photos: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = decoded_names(monkeypatch)
    limited = ("val=2", "test=1", "limit_per_class=3")
    read(photos, scratch, *limited)
    assert len(names) == 30
    names.clear()
    source = read(photos, scratch, *limited, "duplicates=keep")
    assert len(names) == 3 * (2 + 1 + 3) and source.not_chosen == 12
    unique, rows = choose_rows(source, without_looking(len(source.ids)), settings(photos, *limited, "duplicates=keep"))
    assert {split: len(index) for split, index in rows.items()} == {"train": 9, "val": 6, "test": 3}
    assert np.bincount(unique.labels[rows["train"]]).tolist() == [3, 3, 3]


def test_what_a_limit_keeps_depends_on_content_and_seed_alone(photos: Path, scratch: Path) -> None:
    chosen = ("duplicates=keep", "val=none", "test=none", "limit_per_class=4")
    ids = set(read(photos, scratch, *chosen).ids.tolist())
    for number, path in enumerate(sorted(photos.rglob("*.png"))):
        path.rename(path.with_name(f"{97 * number % 31} {path.name}"))
    assert set(read(photos, scratch, *chosen).ids.tolist()) == ids
    assert set(read(photos, scratch, *chosen, "seed=1").ids.tolist()) != ids
    more = set(read(photos, scratch, *chosen, "limit_per_class=5").ids.tolist())
    assert ids < more
    assert ids == set(
        read(photos, scratch, "duplicates=keep", "val=none", "test=none", "limit_per_class=4").ids.tolist()
    )


def test_official_splits_stay_whole_under_a_limit(
    make_photos: Callable[..., Path], tmp_path: Path, scratch: Path
) -> None:
    make_photos(tmp_path / "set" / "train")
    make_photos(tmp_path / "set" / "test", per_class=4, seed=1)
    source = read(tmp_path / "set", scratch, "duplicates=keep", "val=none", "test=official", "limit_per_class=2")
    assert np.bincount(source.held, minlength=3).tolist() == [6, 0, 12]


def test_copies_stay_where_nobody_looks_for_them(photos: Path, scratch: Path) -> None:
    (photos / "ant" / "copy.png").write_bytes((photos / "ant" / "ant_0.png").read_bytes())
    source = read(photos, scratch, "duplicates=keep")
    assert len(source.ids) == 31 and len(set(source.ids.tolist())) == 30
