from __future__ import annotations

import re
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeprune.core.data import (
    DEFAULT_SCALE,
    RAW,
    InputSpec,
    Ports,
    scales_by_name,
    with_scales,
)
from edgeprune.core.errors import DataError, QualityWarning
from edgeprune.core.sources import read_data, read_split
from edgeprune.core.sources.named import named_table

IMAGE = (InputSpec("image", (4, 4, 3)),)
X = np.zeros((10, 4, 4, 3), np.float32)


def saved(tmp_path: Path, **arrays: Any) -> Path:
    path = tmp_path / "data.npz"
    np.savez(path, **arrays)
    return path


def test_float_data_stays_as_it_is(tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(10, 4, 4, 3))
    data = read_data(saved(tmp_path, x=x, y=np.arange(10)), IMAGE)
    assert data.x[0].dtype == np.float32
    np.testing.assert_allclose(data.x[0], x, rtol=1e-6)
    assert len(data) == 10


def test_uint8_is_scaled_to_minus_one_to_one_unless_told_otherwise(tmp_path: Path) -> None:
    path = saved(tmp_path, x=np.full((2, 4, 4, 3), 255, np.uint8))
    assert read_data(path, IMAGE).x[0].max() == 1.0
    assert read_data(path, IMAGE, scale=(55.0, 100.0)).x[0].max() == 2.0


def test_uint8_stays_as_it_is_for_a_model_that_preprocesses_unless_told_otherwise(
    tmp_path: Path,
) -> None:
    path = saved(tmp_path, x=np.full((2, 4, 4, 3), 255, np.uint8))
    spec = (replace(IMAGE[0], scale=RAW),)
    data = read_data(path, spec)
    assert data.x[0].max() == 255.0
    assert data.scaling == "Scale: uint8 values of 'x' stay as they are."
    asked = read_data(path, spec, scale=(127.5, 127.5))
    assert asked.x[0].max() == 1.0
    assert asked.scaling == "Scale: uint8 values of 'x' become (x - 127.5) / 127.5."


def test_a_scale_that_scales_nothing_is_said(tmp_path: Path) -> None:
    path = saved(tmp_path, x=X)
    assert read_data(path, IMAGE).scaling == ""
    assert "not applied" in read_data(path, IMAGE, scale=(0.0, 255.0)).scaling


@pytest.mark.parametrize("dtype", [np.float32, np.int64])
def test_numbers_up_to_255_are_warned_about_where_the_model_does_not_preprocess(
    tmp_path: Path, dtype: type
) -> None:
    path = saved(tmp_path, x=np.arange(480).reshape(X.shape).astype(dtype) % 256)
    with pytest.warns(QualityWarning, match="from 0 to 255"):
        read_data(path, (replace(IMAGE[0], scale=DEFAULT_SCALE),))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_data(path, (replace(IMAGE[0], scale=RAW),))
        read_data(path, IMAGE)


def test_a_manifests_scales_come_back_and_damaged_ones_do_not() -> None:
    specs = (InputSpec("my image", (2,), scale=RAW), InputSpec("ids", (3,), "int32"))
    kept = scales_by_name(specs, "auto")
    assert kept == {"my_image": [0.0, 1.0]}
    plain = (InputSpec("my_image", (2,)),)
    assert with_scales(plain, kept)[0].scale == RAW
    for damaged in ([1], ["a", "b"], [0, 0], [0, float("nan")], "0,1", None):
        assert with_scales(plain, {"my_image": damaged}) == plain


def test_integer_inputs_keep_their_type(tmp_path: Path) -> None:
    path = saved(tmp_path, x=np.full((2, 7), 255, np.uint8))
    data = read_data(path, (InputSpec("tokens", (None,), "int32"),))
    assert data.x[0].dtype == np.int32
    assert data.x[0].max() == 255


def test_several_inputs_are_read_by_name(tmp_path: Path) -> None:
    specs = (InputSpec("b", (2,)), InputSpec("a", (3,)))
    path = saved(tmp_path, a=np.ones((5, 3)), b=np.zeros((5, 2)))
    assert [array.shape for array in read_data(path, specs).x] == [(5, 2), (5, 3)]


def test_names_that_a_signature_cannot_have_are_found_all_the_same(tmp_path: Path) -> None:
    """A .tflite file calls the input `extra numbers` of a Keras model `extra_numbers`."""
    specs = (InputSpec("image", (2,)), InputSpec("extra_numbers", (3,)))
    path = saved(tmp_path, **{"image": np.ones((5, 2)), "extra numbers": np.zeros((5, 3))})
    assert [array.shape for array in read_data(path, specs).x] == [(5, 2), (5, 3)]


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"y": np.arange(10)}, "array 'x' is missing. Received: y"),
        ({}, "array 'x' is missing. Received: no arrays"),
        ({"x": X[:, :3]}, "takes [n, 4, 4, 3]. Received: shape [10, 3, 4, 3]"),
        ({"x": X[0]}, "Received: shape [4, 4, 3]"),
        ({"x": np.float32(3)}, "Received: shape []"),
        ({"x": np.where(np.arange(480).reshape(X.shape) < 2, np.nan, X)}, "2 NaN or infinite"),
        ({"x": np.full_like(X, np.inf)}, "480 NaN or infinite"),
        ({"x": X, "y": np.arange(9)}, "x has 10, y has 9"),
        ({"x": X[:0]}, "at least one"),
        ({"x": X.astype(str)}, "expected numbers"),
        ({"x": X, "y": np.full(10, np.nan)}, "'y': expected finite"),
    ],
)
def test_what_is_wrong_with_the_data_is_said(
    tmp_path: Path, arrays: dict[str, Any], said: str
) -> None:
    path = saved(tmp_path, **arrays)
    with pytest.raises(DataError, match=re.escape(said)) as caught:
        read_data(path, IMAGE)
    assert str(path) in str(caught.value)


def test_labels_may_be_required(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="array 'y' is missing"):
        read_data(saved(tmp_path, x=X), IMAGE, labels=True)


def test_values_that_an_input_of_integers_does_not_hold_are_refused(tmp_path: Path) -> None:
    for dtype, good, bad in (
        ("int32", np.array([[2.0, -3.0]]), np.array([[2.0, 1.5]])),
        ("int32", np.array([[2, 3]], np.int64), np.array([[2, 2**31]], np.int64)),
        ("uint8", np.array([[0, 255]]), np.array([[0, 300]])),
        ("bool", np.array([[0, 1]]), np.array([[0, 2]])),
    ):
        inputs = (InputSpec("tokens", (2,), dtype),)
        found = read_data(saved(tmp_path, tokens=good), inputs).x[0]
        assert (found.dtype, found.tolist()) == (np.dtype(dtype), good.tolist())
        with pytest.raises(DataError, match=f"values that {dtype} holds.*'tokens'.*{bad[0, 1]}"):
            read_data(saved(tmp_path, tokens=bad), inputs)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut short", b"\x00" * 100, None])
def test_a_file_that_is_no_npz_is_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "data.npz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=re.escape(str(path))):
        read_data(path, IMAGE)


def test_a_truncated_npz_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path, x=X)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(DataError, match="does not read as one"):
        read_data(path, IMAGE)


def test_pickled_objects_are_never_loaded(tmp_path: Path) -> None:
    path = saved(tmp_path, x=np.array([{"a": 1}], dtype=object))
    with pytest.raises(DataError, match="plain arrays"):
        read_data(path, IMAGE)


def test_a_bare_array_is_told_from_an_archive(tmp_path: Path) -> None:
    path = tmp_path / "data.npz"
    with path.open("wb") as file:
        np.save(file, X)
    with pytest.raises(DataError, match="one bare array"):
        read_data(path, IMAGE)


def test_a_test_set_in_the_file_is_used(tmp_path: Path) -> None:
    split = read_split(saved(tmp_path, x=X, x_test=X[:3], y_test=np.arange(3)), IMAGE)
    assert (len(split.train), len(split.test)) == (10, 3)
    assert split.train.y is None


def test_without_one_every_fifth_sample_is_held_out(tmp_path: Path) -> None:
    split = read_split(saved(tmp_path, x=X, y=np.arange(10)), IMAGE)
    assert [array.tolist() for array in split.test.labels] == [[0, 5]]
    assert [array.tolist() for array in split.train.labels] == [[1, 2, 3, 4, 6, 7, 8, 9]]


def test_labels_of_no_output_are_told() -> None:
    ports = Ports((InputSpec("x", (2,)),), ("boxes", "classes"))
    arrays: dict[str, Any] = {
        "x": np.zeros((3, 2), np.float32),
        "y_box": np.zeros(3),
        "y_class_test": np.zeros(3),
    }
    with pytest.warns(QualityWarning, match=r"y_box: no output.*y_boxes, y_classes") as told:
        assert not named_table("data.npz", arrays, ports, "auto").labelled
    assert "y_class_test" not in str(told[0].message)
