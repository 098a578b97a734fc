"""Values in the form in which a file stores a constant."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgeprune.conversion.lift.write_back.stored import store_as
from edgeprune.core.errors import TfliteError
from edgeprune.tflite.format.graph import Tensor

VALUES = np.array([[1.0, -2.0, 0.0, 0.5], [0.25, 0.0, 0.125, -0.0625]], np.float32)


def tensor(dtype: str, scales: Any = (), zero_points: Any = (0,), axis: int = 0) -> Tensor:
    return Tensor(
        index=0,
        name="w",
        shape=(2, 4),
        shape_signature=(2, 4),
        dtype=dtype,
        buffer=1,
        data=np.zeros(8, np.uint8),
        encoding=None,
        scales=np.array(scales, np.float32),
        zero_points=np.array(zero_points, np.int64),
        quantized_dimension=axis,
        variable=False,
    )


def test_float32_is_kept_to_the_bit() -> None:
    stored = store_as(tensor("float32"), VALUES)
    assert np.array_equal(stored.data.view("<f4").reshape(2, 4), VALUES)
    assert not stored.scales.size


def test_float16_says_what_its_bytes_stand_for() -> None:
    third = np.full((2, 4), 1 / 3, np.float32)
    stored = store_as(tensor("float16"), third)
    assert stored.data.size == 16
    assert (stored.read == np.float32(np.float16(1 / 3))).all()


def test_a_value_beyond_float16_is_refused_by_the_name_of_its_tensor() -> None:
    with pytest.raises(TfliteError, match="'w'.*float16 holds.*2e\\+06"):
        store_as(tensor("float16"), VALUES * 1e6)


def test_int8_gets_a_scale_per_channel_with_the_largest_weight_at_127() -> None:
    stored = store_as(tensor("int8", (1, 1), (0, 0)), VALUES)
    assert stored.scales == pytest.approx([2 / 127, 0.25 / 127])
    assert np.abs(stored.data.view(np.int8).reshape(2, 4)).max(axis=1).tolist() == [127, 127]
    assert (stored.read == 0).tolist() == (VALUES == 0).tolist()


def test_int8_scales_follow_the_axis_and_the_number_of_channels_left() -> None:
    stored = store_as(tensor("int8", (1, 1, 1, 1), (0,) * 4, axis=1), VALUES[:, :3])
    assert stored.scales == pytest.approx([1 / 127, 2 / 127, 0.125 / 127])


def test_int8_with_one_scale_keeps_one() -> None:
    assert store_as(tensor("int8", (1,)), VALUES).scales == pytest.approx([2 / 127])


def test_a_channel_of_zeros_gets_a_scale_above_zero() -> None:
    stored = store_as(tensor("int8", (1, 1), (0, 0)), np.zeros((2, 4), np.float32))
    assert (stored.scales > 0).all()
    assert not stored.read.any()


def test_uint8_has_a_zero_point_that_gives_zero_exactly() -> None:
    stored = store_as(tensor("uint8", (1,), (128,)), VALUES)
    assert (stored.read == 0).tolist() == (VALUES == 0).tolist()
    assert np.abs(stored.read - VALUES).max() <= stored.scales[0] / 2 + 1e-7


def test_two_values_of_int4_share_a_byte_the_first_in_the_lower_half() -> None:
    stored = store_as(tensor("int4", (1,)), np.array([[7.0, -7.0], [1.0, 0.0]], np.float32))
    assert stored.data.tolist() == [0x97, 0x01]


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_refused(bad: float) -> None:
    with pytest.raises(TfliteError, match="'w'.*finite"):
        store_as(tensor("float32"), VALUES + np.float32(bad))


def test_a_type_without_scales_is_refused_by_its_name() -> None:
    with pytest.raises(TfliteError, match="'w'.*int32.*--skip"):
        store_as(tensor("int32"), VALUES)
