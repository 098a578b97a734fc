from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from edgeprune.core import digest
from edgeprune.core.arrays import Array

ARRAY = np.arange(6, dtype=np.float32)


def test_every_value_the_shape_and_the_dtype_count() -> None:
    changed = ARRAY.copy()
    changed[5] = 5.5
    others: list[Array] = [changed, ARRAY.reshape(2, 3), ARRAY.astype(np.float64), ARRAY[:5]]
    found = {digest.of_arrays([array]) for array in (ARRAY, *others)}
    assert len(found) == 5
    assert digest.of_arrays([ARRAY, changed]) != digest.of_arrays([changed, ARRAY])


def test_where_an_array_lies_in_memory_does_not_count() -> None:
    square = np.arange(9).reshape(3, 3)
    assert digest.of_arrays([square.T]) == digest.of_arrays([square.T.copy()])


def test_the_order_of_keys_does_not_count() -> None:
    assert digest.of_json({"a": 1, "b": 2}) == digest.of_json({"b": 2, "a": 1})
    assert digest.of_json([1, 2]) != digest.of_json([2, 1])


def test_a_file_is_known_by_its_bytes_and_a_missing_one_is_not(tmp_path: Path) -> None:
    content = bytes(range(256)) * 8192
    (tmp_path / "f").write_bytes(content)
    assert digest.of_file(tmp_path / "f") == hashlib.sha256(content).hexdigest()
    assert digest.of_file(tmp_path / "gone") is None
    assert digest.of_file(tmp_path) is None
