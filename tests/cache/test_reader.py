"""What is written is what is read; what was changed since is refused, with file, found, expected and remedy."""

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import cache.writer as writer
from cache.errors import AugcacheError, DamagedFile, ForeignFile, NewerFile, RecordError, StorageError
from cache.layout import COLUMNS, USER_BLOCK, canonical
from cache.reader import read_features, read_file, read_images, read_kind
from cache.records import FeatureSet, ImageSet
from cache.sealed import seal_of
from cache.writer import write_features, write_file, write_images

Make = Callable[..., Any]
ARCHIVES = Path(__file__).parent / "archives"
MUTATIONS = 3000
REMEDY = r"Delete it and run the stage that makes it again\."

examples = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)


def read_any(path: Path, kind: str) -> tuple[np.ndarray, dict[str, list[Any]], dict[str, Any]]:
    """Everything that a file holds, checked and in memory."""
    stored = read_file(path, kind)
    return stored.rows[:], {name: column.tolist() for name, column in stored.columns.items()}, stored.meta


def reseal(path: Path, **changes: object) -> None:
    """Change the header of a file and seal it again, as a newer version or another program would."""
    with path.open("r+b") as raw:
        header = json.loads(raw.read(USER_BLOCK)) | {"bytes": path.stat().st_size} | changes
        header["seal"] = seal_of(raw, header, path.stat().st_size)
        raw.seek(0)
        raw.write(canonical(header).ljust(USER_BLOCK - 1) + b"\n")


# Round trips


def test_images_come_back(make_images: Make, tmp_path: Path) -> None:
    images: ImageSet = make_images(5)
    write_images(tmp_path / "a.h5", images)
    stored = read_images(tmp_path / "a.h5")
    assert np.array_equal(stored.images[:], images.images[:])
    assert (stored.labels.tolist(), stored.ids.tolist()) == (images.labels.tolist(), images.ids.tolist())
    assert (stored.classes, stored.variant, stored.recipe) == (images.classes, images.variant, images.recipe)
    assert (stored.images.shape, stored.images.dtype, read_kind(tmp_path / "a.h5")) == (
        (5, 4, 4, 3),
        np.uint8,
        "images",
    )


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_features_come_back(make_features: Make, tmp_path: Path, dtype: str) -> None:
    features: FeatureSet = make_features(5, dtype=dtype)
    write_features(tmp_path / "a.h5", features)
    stored = read_features(tmp_path / "a.h5")
    assert stored.features[:].tobytes() == features.features[:].tobytes()
    assert (stored.features.dtype, stored.backbone, stored.recipe) == (dtype, "efficientnet-mini", {"seed": 0})
    assert (stored.labels.tolist(), stored.classes, stored.variant) == (
        [0, 1, 2, 0, 1],
        features.classes,
        "unaugmented",
    )


def test_empty_sets_come_back(make_images: Make, make_features: Make, tmp_path: Path) -> None:
    write_images(tmp_path / "images.h5", make_images(0, size=8))
    write_features(tmp_path / "features.h5", make_features(0, width=3))
    write_file(tmp_path / "part.h5", "part", np.empty((0, 0), "f2"), {"keys": np.empty(0, "S64")}, {"recipe": {}})
    assert read_images(tmp_path / "images.h5").images[:].shape == (0, 8, 8, 3)
    assert read_features(tmp_path / "features.h5").features[:].shape == (0, 3)
    assert read_file(tmp_path / "part.h5", "part").rows[:].shape == (0, 0)


@examples
@given(data=st.data(), dtype=st.sampled_from(["<f2", "<f4", "|u1"]), n=st.integers(0, 12), width=st.integers(0, 9))
def test_any_part_comes_back_in_order(data: st.DataObject, dtype: str, n: int, width: int, tmp_path: Path) -> None:
    content = data.draw(st.binary(min_size=n * width, max_size=n * width))
    rows = np.frombuffer(content, dtype=np.uint8).reshape(n, width).astype(dtype)
    keys = np.array(data.draw(st.lists(st.binary(max_size=64), min_size=n, max_size=n)), dtype="S64")
    recipe = data.draw(st.dictionaries(texts, st.integers() | texts | st.booleans() | st.none(), max_size=4))
    write_file(tmp_path / "a.h5", "part", rows, {"keys": keys}, {"recipe": recipe})
    stored, columns, meta = read_any(tmp_path / "a.h5", "part")
    assert stored.dtype == rows.dtype
    assert stored.tobytes() == rows.tobytes()
    assert (columns, meta) == ({"keys": keys.tolist()}, {"recipe": recipe})


@examples
@given(classes=st.lists(texts, min_size=1, max_size=5, unique=True), data=st.data(), n=st.integers(0, 9))
def test_any_labels_and_class_names_come_back(classes: list[str], data: st.DataObject, n: int, tmp_path: Path) -> None:
    labels = np.array(data.draw(st.lists(st.integers(0, len(classes) - 1), min_size=n, max_size=n)), dtype=np.int64)
    pixels = np.frombuffer(data.draw(st.binary(min_size=n * 12, max_size=n * 12)), np.uint8).reshape(n, 2, 2, 3)
    images = ImageSet(pixels, labels, np.array([b"%d" % row for row in range(n)], dtype="S64"), tuple(classes))
    write_images(tmp_path / "a.h5", images)
    stored = read_images(tmp_path / "a.h5")
    assert np.array_equal(stored.images[:], pixels)
    assert (stored.labels.tolist(), stored.ids.tolist()) == (labels.tolist(), images.ids.tolist())
    assert stored.classes == tuple(classes)


@examples
@given(data=st.data())
def test_rows_are_indexed_as_numpy_does(data: st.DataObject, make_features: Make, tmp_path: Path) -> None:
    features: FeatureSet = make_features(12)
    if not (tmp_path / "a.h5").exists():
        write_features(tmp_path / "a.h5", features)
    rows = read_features(tmp_path / "a.h5").features
    positions = st.lists(st.integers(-12, 11), max_size=20).map(lambda numbers: np.array(numbers, dtype=np.int64))
    masks = st.lists(st.booleans(), min_size=12, max_size=12).map(np.array)
    index = data.draw(st.one_of(st.slices(12), positions, masks))
    assert np.array_equal(rows[index], features.features[index])
    chosen = data.draw(positions)
    selected = rows.select(np.arange(12)[chosen])  # type: ignore[attr-defined]
    again = data.draw(st.permutations(range(len(chosen))).map(lambda numbers: np.array(numbers, dtype=np.int64)))
    assert np.array_equal(selected[again], features.features[chosen][again])
    assert np.array_equal(selected.select(again)[:], features.features[chosen][again])


def test_a_single_row_keeps_its_axis_and_rows_travel_between_processes(make_features: Make, tmp_path: Path) -> None:
    features: FeatureSet = make_features(5)
    write_features(tmp_path / "a.h5", features)
    rows = pickle.loads(pickle.dumps(read_features(tmp_path / "a.h5").features))
    assert np.array_equal(rows[3], features.features[3:4])
    assert np.array_equal(np.asarray(rows), features.features)
    with pytest.raises(IndexError):
        rows[np.array([5])]


# Files of version 1, for good. Made by `make_archives`; they are never made again.


def archived_images() -> ImageSet:
    pixels = np.arange(3 * 4 * 4 * 3, dtype=np.uint8).reshape(3, 4, 4, 3)
    ids = np.array([b"a" * 64, b"b" * 64, b"c" * 64])
    return ImageSet(pixels, np.array([1, 0, 1]), ids, ("ant", "bée"), "spatial_2", {"stage": "augment", "seed": 7})


def archived_features() -> FeatureSet:
    rows = np.array([[0.5, -1.25, 3.0], [65504.0, 0.0, 2.0**-24]], dtype=np.float16)
    ids = np.array([b"a" * 64, b"b" * 64])
    return FeatureSet(rows, np.array([0, 1]), ids, ("ant", "bée"), "unaugmented", "efficientnet-b0", {"batch": 64})


ARCHIVED_PART = np.array([[1.5, -2.0], [3.25, 1e-30]], dtype=np.float32)


def make_archives(folder: Path) -> None:
    """Write one small file of each kind in the present version: for the folder of a new format version only."""
    write_images(folder / "images.h5", archived_images())
    write_features(folder / "features.h5", archived_features())
    keys = {"keys": np.array([b"d" * 64, b"e" * 64])}
    write_file(folder / "part.h5", "part", ARCHIVED_PART, keys, {"recipe": {"stage": "featurize", "size": 32}})


def test_images_of_version_1_are_read_for_good() -> None:
    stored = read_images(ARCHIVES / "version-1" / "images.h5")
    expected = archived_images()
    assert np.array_equal(stored.images[:], expected.images)
    assert (stored.labels.tolist(), stored.ids.tolist()) == ([1, 0, 1], expected.ids.tolist())
    assert (stored.classes, stored.variant, stored.recipe) == (expected.classes, "spatial_2", expected.recipe)


def test_features_of_version_1_are_read_for_good() -> None:
    stored = read_features(ARCHIVES / "version-1" / "features.h5")
    expected = archived_features()
    assert stored.features[:].tobytes() == expected.features[:].tobytes()
    assert (stored.labels.tolist(), stored.ids.tolist()) == ([0, 1], expected.ids.tolist())
    assert (stored.classes, stored.backbone, stored.recipe) == (expected.classes, "efficientnet-b0", {"batch": 64})


def test_a_part_of_version_1_is_read_for_good() -> None:
    rows, columns, meta = read_any(ARCHIVES / "version-1" / "part.h5", "part")
    assert rows.tobytes() == ARCHIVED_PART.tobytes()
    assert columns == {"keys": [b"d" * 64, b"e" * 64]}
    assert meta == {"recipe": {"stage": "featurize", "size": 32}}


def test_bytes_of_version_1_are_written_the_same_for_good(tmp_path: Path) -> None:
    make_archives(tmp_path)
    for path in tmp_path.iterdir():
        assert path.read_bytes() == (ARCHIVES / "version-1" / path.name).read_bytes(), path.name


# Refusals


@pytest.fixture(params=["images", "features", "part"])
def archived(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, str]:
    """A copy of an archived file, and its kind."""
    path = tmp_path / "a.h5"
    path.write_bytes((ARCHIVES / "version-1" / f"{request.param}.h5").read_bytes())
    return path, request.param


def test_a_flipped_bit_anywhere_is_refused(archived: tuple[Path, str]) -> None:
    path, kind = archived
    content = path.read_bytes()
    reasons = {"checksum does not match", "row does not match", "wrong length", "newer than", "not an augcache file"}
    seen = set()
    for place in range(0, len(content), 3):
        path.write_bytes(content[:place] + bytes([content[place] ^ 1 << place % 8]) + content[place + 1 :])
        with pytest.raises(AugcacheError, match=r"a\.h5") as caught:
            read_any(path, kind)
        seen.update(reason for reason in reasons if reason in str(caught.value))
    assert seen >= {"checksum does not match", "row does not match", "not an augcache file"}


def test_each_region_is_covered_by_its_own_check(archived: tuple[Path, str]) -> None:
    path, kind = archived
    with h5py.File(path) as file:
        regions = {
            name: (file[name].id.get_offset(), file[name].nbytes) for name in ("digests", "meta", *COLUMNS[kind])
        }
        offset = file["rows"].id.get_offset()
        length = file["rows"].nbytes
    content = path.read_bytes()

    def flip(place: int) -> None:
        path.write_bytes(content[:place] + bytes([content[place] ^ 0x10]) + content[place + 1 :])

    for begin, size in regions.values():
        flip(begin + size // 2)
        with pytest.raises(DamagedFile, match=rf"a\.h5: checksum does not match\. {REMEDY}"):
            read_file(path, kind)
    flip(offset + length - 1)
    last = len(read_file(path, kind).rows) - 1
    with pytest.raises(DamagedFile, match=rf"a\.h5 row {last}: row does not match its checksum\. {REMEDY}"):
        read_any(path, kind)


def test_a_damaged_row_does_not_take_the_others_with_it(archived: tuple[Path, str]) -> None:
    path, kind = archived
    expected, _, _ = read_any(path, kind)
    with path.open("r+b") as raw:
        raw.seek(json.loads(raw.read(USER_BLOCK))["rows"][0])
        raw.write(b"\xaa")
    rows = read_file(path, kind).rows
    assert rows[1:].tobytes() == expected[1:].tobytes()
    with pytest.raises(DamagedFile, match="row 0"):
        rows[np.array([1, 0])]


def test_a_truncated_file_is_refused_at_every_length(archived: tuple[Path, str]) -> None:
    path, kind = archived
    content = path.read_bytes()
    for length in range(0, len(content), 7):
        path.write_bytes(content[:length])
        error = DamagedFile if length >= len(content[:USER_BLOCK].rstrip()) else ForeignFile  # a whole header?
        line = "wrong length; expected" if error is DamagedFile else "not an augcache"
        with pytest.raises(error, match=rf"a\.h5: {line}"):
            read_file(path, kind)
    path.write_bytes(content + b"\0")
    with pytest.raises(
        DamagedFile, match=rf"expected {len(content)} bytes, found {len(content) + 1:,} bytes\. {REMEDY}"
    ):
        read_kind(path)


def test_rows_cut_off_while_the_file_is_open_are_refused(archived: tuple[Path, str]) -> None:
    path, kind = archived
    rows = read_file(path, kind).rows
    path.write_bytes(path.read_bytes()[: rows.offset + 1])
    with pytest.raises(DamagedFile, match=r"a\.h5: file is shorter than when it was opened"):
        rows[:]


def test_another_hdf5_file_is_foreign(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w", userblock_size=512) as file:
        file["rows"] = np.zeros((3, 4))
    (tmp_path / "b.h5").write_bytes(b'{"format": "other"}'.ljust(2000))
    (tmp_path / "c.h5").touch()
    for name in ("a.h5", "b.h5", "c.h5"):
        message = rf"{name}: not an augcache file, or its first bytes are damaged\. {REMEDY}"
        with pytest.raises(ForeignFile, match=message):
            read_images(tmp_path / name)
        with pytest.raises(ForeignFile, match=message):
            read_kind(tmp_path / name)


def test_a_newer_version_is_refused(archived: tuple[Path, str]) -> None:
    path, kind = archived
    reseal(path, version=4)
    message = r"a\.h5: format is newer than this code; expected version 3, found version 4\. Update augcache"
    with pytest.raises(NewerFile, match=message):
        read_file(path, kind)


def test_the_wrong_kind_is_refused(tmp_path: Path, make_images: Make, make_features: Make) -> None:
    write_images(tmp_path / "images.h5", make_images(2))
    write_features(tmp_path / "features.h5", make_features(2))
    with pytest.raises(ForeignFile, match=r"images\.h5: wrong kind of file; expected 'features', found 'images'"):
        read_features(tmp_path / "images.h5")
    with pytest.raises(ForeignFile, match=r"features\.h5: wrong kind of file; expected 'images', found 'features'"):
        read_images(tmp_path / "features.h5")


@pytest.mark.parametrize("kind", [["part"], {}, None, 3, "parts"])
def test_a_kind_that_is_none_is_refused(tmp_path: Path, kind: object) -> None:
    path = tmp_path / "a.h5"
    path.write_bytes((ARCHIVES / "version-1" / "part.h5").read_bytes())
    reseal(path, kind=kind)
    with pytest.raises(DamagedFile, match="checksum does not match"):
        read_kind(path)


def test_missing_metadata_is_named(tmp_path: Path) -> None:
    columns = {"labels": np.zeros(1, int), "ids": np.array([b"a"])}
    write_file(tmp_path / "a.h5", "images", np.zeros((1, 2, 2, 3), np.uint8), columns, {"recipe": {}})
    with pytest.raises(ForeignFile, match=rf"a\.h5: metadata is incomplete; expected classes, variant\. {REMEDY}"):
        read_images(tmp_path / "a.h5")


def test_rows_of_the_wrong_type_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(writer.ROW_TYPES, "part", ("<f8",))
    write_file(tmp_path / "a.h5", "part", np.zeros((1, 2)), {"keys": np.array([b"a"])}, {"recipe": {}})
    monkeypatch.undo()
    with pytest.raises(ForeignFile, match=r"a\.h5: rows have the wrong type; expected \|u1 or <f2 or <f4, found <f8"):
        read_file(tmp_path / "a.h5", "part")


def test_features_that_are_not_finite_are_refused_even_if_another_program_wrote_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer.np, "isfinite", lambda rows: np.ones(rows.shape, bool))
    rows = np.array([[1.0, np.nan]], dtype=np.float16)
    write_file(tmp_path / "a.h5", "part", rows, {"keys": np.array([b"a"])}, {"recipe": {}})
    monkeypatch.undo()
    with pytest.raises(DamagedFile, match=rf"a\.h5: features hold NaN or infinity\. {REMEDY}"):
        read_any(tmp_path / "a.h5", "part")


def test_labels_beyond_the_classes_are_refused(tmp_path: Path) -> None:
    columns = {"labels": np.array([0, 3]), "ids": np.array([b"a", b"b"])}
    meta = {"classes": ["ant", "bee"], "variant": "unaugmented", "recipe": {}, "backbone": "b0"}
    write_file(tmp_path / "a.h5", "features", np.zeros((2, 3), np.float16), columns, meta)
    with pytest.raises(RecordError, match=r"a\.h5: labels do not match the classes; expected 0 to 1, found 0 to 3"):
        read_features(tmp_path / "a.h5")
    write_file(tmp_path / "a.h5", "images", np.zeros((2, 2, 2, 3), np.uint8), columns, meta)
    with pytest.raises(RecordError, match=r"a\.h5: labels do not match the classes"):
        read_images(tmp_path / "a.h5")


def test_a_file_that_is_not_there_or_not_a_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"a\.h5: no such file\. Run the stage that makes it\."):
        read_images(tmp_path / "a.h5")
    with pytest.raises(StorageError, match=r"cannot read: Is a directory"):
        read_kind(tmp_path)


# Fuzz


def mutated(content: bytes, other: bytes, random: np.random.Generator) -> bytes:
    """One of: flipped bits, a truncation, bytes of another file, a zeroed range, a moved range, a random header."""
    place = int(random.integers(len(content)))
    length = int(random.integers(1, 200))
    match int(random.integers(6)):
        case 0:
            changed = bytearray(content)
            for bit in random.integers(0, 8 * len(content), size=random.integers(1, 9)):
                changed[bit // 8] ^= 1 << bit % 8
            return bytes(changed)
        case 1:
            return content[:place]
        case 2:
            return content[:place] + other[place : place + length] + content[place + length :]
        case 3:
            return content[:place] + bytes(min(length, len(content) - place)) + content[place + length :]
        case 4:
            source = int(random.integers(len(content)))
            return content[:place] + content[source : source + length] + content[place:]
        case _:
            return random_header(content, random) + content[USER_BLOCK:]


def random_header(content: bytes, random: np.random.Generator) -> bytes:
    """A header with a value of another type or size, in JSON or not."""
    values = [
        None,
        True,
        -1,
        0,
        1,
        2**70,
        1e308,
        "",
        "part",
        [],
        [0],
        [0, -1],
        [USER_BLOCK, 10],
        [0.5, 1],
        {},
        {"a": []},
    ]
    header = json.loads(content[:USER_BLOCK])
    for key in random.choice(sorted(header), size=random.integers(1, 4), replace=False):
        header[str(key)] = values[random.integers(len(values))]
    text = json.dumps(header).encode()
    noise = random.bytes(8) if random.random() < 0.2 else b""
    return (b"[" * 400 if random.random() < 0.05 else text + noise).ljust(USER_BLOCK)[:USER_BLOCK]


def test_no_mutated_file_crashes_or_gives_other_rows(tmp_path: Path) -> None:
    random = np.random.default_rng(20260101)
    kinds = ("images", "features", "part")
    contents = {kind: (ARCHIVES / "version-1" / f"{kind}.h5").read_bytes() for kind in kinds}
    originals = {kind: repr(read_any(ARCHIVES / "version-1" / f"{kind}.h5", kind)) for kind in kinds}
    path = tmp_path / "a.h5"
    refused = 0
    for number in range(MUTATIONS):
        kind = kinds[number % 3]
        content = mutated(contents[kind], contents[kinds[(number + 1) % 3]], random)
        path.write_bytes(content)
        try:
            assert repr(read_any(path, kind)) == originals[kind], f"mutation {number}"
        except AugcacheError as error:
            assert str(path) in str(error)
            refused += 1
    assert refused > 0.9 * MUTATIONS  # the rest changes nothing: other spaces in the header, zeros put over zeros
