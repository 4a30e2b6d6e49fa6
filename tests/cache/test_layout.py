"""Digests and recipe keys are the same everywhere and for good: files and stores are named by them."""

import numpy as np
import pytest

from cache.layout import BLOCK_BYTES, canonical, hex_keys, recipe_key, row_digest, row_digests, rows_per_block


def test_row_digest_never_changes() -> None:
    row = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    assert row_digest(row).hex() == "27c6b7286667a36ddcb9b7a5dca14b7f20baa9ea8cbee5fd87eb533a56cc01e7"


def test_row_digest_tells_type_and_shape_apart() -> None:
    zeros = [np.zeros(4, np.uint8), np.zeros((2, 2), np.uint8), np.zeros(2, np.float16), np.zeros(1, np.float32)]
    assert len({row_digest(row) for row in zeros}) == 4


def test_row_digest_does_not_see_memory_order() -> None:
    row = np.arange(12, dtype=np.uint8).reshape(3, 4)
    assert row_digest(np.asfortranarray(row)) == row_digest(row) == row_digest(np.repeat(row, 2, axis=1)[:, ::2])


def test_hex_keys_spell_the_digests() -> None:
    rows = np.array([[1], [0]], dtype=np.uint8)
    digests = row_digests(rows)
    assert digests.shape == (2, 32)
    assert hex_keys(digests).tolist() == [row_digest(row).hex().encode() for row in rows]
    assert row_digests(rows[:0]).shape == (0, 32)


def test_recipe_key_sees_values_and_not_their_order() -> None:
    assert recipe_key({"b": 1, "a": [2.5, "é"]}) == recipe_key({"a": [2.5, "é"], "b": 1})
    assert recipe_key({"a": 1}) == "015abd7f5cc57a2dd94b7590f04ad8084273905ee33ec5cebeae62276a97f862"
    assert len({recipe_key({"a": value}) for value in (1, 2, "1", 1.5, None, True, [1])}) == 7


def test_canonical_refuses_what_json_cannot_say() -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        canonical({"a": float("nan")})
    with pytest.raises(TypeError, match="not JSON serializable"):
        canonical({"a": object()})


def test_blocks_hold_at_least_one_row_and_stay_near_their_size() -> None:
    assert rows_per_block((64, 64, 3), np.uint8) == BLOCK_BYTES // 12288
    assert rows_per_block((1 << 30,), np.float32) == 1
    assert rows_per_block((0,), np.float32) == BLOCK_BYTES
