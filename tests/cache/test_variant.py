"""A variant without pixels on disk: identity and recipe, sealed, of format version 2."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from cache.errors import AugcacheError, DamagedFile, ForeignFile, RecordError
from cache.layout import derived_keys
from cache.reader import read_images, read_kind, read_set
from cache.records import ImageSet, Variant
from cache.writer import write_images, write_variant

ARCHIVE = Path(__file__).parent / "archives" / "version-2" / "variant.h5"
RECIPE = {"stage": "augment", "seed": 7, "size": 32}


def archived() -> Variant:
    ids = np.array([b"a" * 64, b"b" * 64, b"c" * 64])
    return Variant(np.array([1, 0, 1]), ids, ("ant", "bée"), "spatial_2", RECIPE)


def check_same(variant: object, expected: Variant) -> None:
    assert isinstance(variant, Variant)
    assert (variant.labels.tolist(), variant.ids.tolist()) == (expected.labels.tolist(), expected.ids.tolist())
    assert (variant.classes, variant.variant, variant.recipe) == (expected.classes, expected.variant, expected.recipe)


def test_a_variant_comes_back_and_a_set_with_pixels_does_too(
    tmp_path: Path, make_images: Callable[..., ImageSet]
) -> None:
    write_variant(tmp_path / "a.h5", archived())
    check_same(read_set(tmp_path / "a.h5"), archived())
    assert read_kind(tmp_path / "a.h5") == "variant"
    write_images(tmp_path / "b.h5", make_images(3))
    images = read_set(tmp_path / "b.h5")
    assert isinstance(images, ImageSet) and np.array_equal(images.images[:], make_images(3).images)


def test_no_rows_make_a_small_file(tmp_path: Path) -> None:
    ids = np.array([b"%064x" % row for row in range(1000)])
    write_variant(tmp_path / "a.h5", Variant(np.zeros(1000, int), ids, ("ant",), "spatial_1", RECIPE))
    assert (tmp_path / "a.h5").stat().st_size <= 1000 * (64 + 8) + 4096


def test_version_2_is_read_and_written_the_same_for_good(tmp_path: Path) -> None:
    check_same(read_set(ARCHIVE), archived())
    write_variant(tmp_path / "a.h5", archived())
    assert (tmp_path / "a.h5").read_bytes() == ARCHIVE.read_bytes()


def test_a_flipped_bit_anywhere_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    content = ARCHIVE.read_bytes()
    for place in range(0, len(content), 3):
        path.write_bytes(content[:place] + bytes([content[place] ^ 1 << place % 8]) + content[place + 1 :])
        with pytest.raises(AugcacheError, match=r"a\.h5"):
            read_set(path)


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    content = ARCHIVE.read_bytes()
    for length in (600, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:length])
        with pytest.raises(DamagedFile, match=r"a\.h5: wrong length"):
            read_set(path)


def test_whoever_asks_for_stored_pixels_is_told_what_to_do() -> None:
    with pytest.raises(ForeignFile, match=r"expected 'images', found 'variant'\. Set augment\.keep to pixels and run"):
        read_images(ARCHIVE)


def test_columns_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="columns differ in length"):
        Variant(np.zeros(2, int), archived().ids, ("ant",), "spatial_1", RECIPE)
    with pytest.raises(RecordError, match="labels do not match the classes"):
        Variant(np.array([0, 0, 3]), archived().ids, ("ant",), "spatial_1", RECIPE)


def test_keys_of_drawn_rows_follow_from_recipe_and_id_and_never_change() -> None:
    keys = derived_keys(archived().ids, RECIPE)
    assert keys[0] == KEY
    assert len(set(keys.tolist())) == 3
    assert derived_keys(archived().ids[1:], RECIPE).tolist() == keys[1:].tolist()
    assert derived_keys(archived().ids, RECIPE | {"seed": 8})[0] != keys[0]


KEY = b"e893360b90db80220d48298110e252ec29c050aef89f111e5e2013b0b106daa1"
