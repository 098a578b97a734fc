"""The coding of DECODE against an oracle of plain loops, literal bytes, and itself."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeprune.tflite.format.packed_tensor import (
    HEADER_BYTES,
    PACKED_TYPES,
    PackedValues,
    pack_values,
    packed_bytes,
    unpack_values,
    wrong_coding,
)

Array = np.ndarray[Any, np.dtype[Any]]
NONE = np.empty(0, np.int64)


def unpack_by_loops(
    packed: PackedValues, shape: tuple[int, ...], zero: list[int], axis: int
) -> Any:
    """Reads int8 bit by bit, as the kernel in TFLite Micro does."""
    flat, at = [], HEADER_BYTES
    inside = math.prod(shape[axis + 1 :])
    for index in range(math.prod(shape)):
        if packed.mask[index >> 3] >> (~index & 7) & 1:
            flat.append(int(packed.ancillary[at].view(np.int8)))
            at += 1
        else:
            flat.append(zero[0] if len(zero) == 1 else zero[index // inside % shape[axis]])
    assert at == packed.ancillary.size
    return np.array(flat, np.int8).reshape(shape)


@st.composite
def tensors(draw: st.DrawFn) -> tuple[Array, Array, int]:
    """int8 values full of holes, their zero points and the axis of these."""
    shape = tuple(draw(st.lists(st.integers(1, 5), min_size=1, max_size=4)))
    axis = draw(st.sampled_from([0, len(shape) - 1]))
    count = draw(st.sampled_from([1, shape[axis]]))
    zeros = draw(st.lists(st.integers(-128, 127), min_size=count, max_size=count))
    seed, sparsity = draw(st.integers(0, 999)), draw(st.sampled_from([0, 0.3, 0.9, 1]))
    generator = np.random.default_rng(seed)
    along = [-1 if place == axis else 1 for place in range(len(shape))]
    hole = np.array(zeros, np.int8).reshape(along if count > 1 else [1] * len(shape))
    values = generator.integers(-128, 128, shape).astype(np.int8)
    values = np.where(generator.random(shape) < sparsity, hole, values)
    return values, np.array(zeros, np.int64), axis


@given(tensors())
def test_int8_comes_back_bit_for_bit_and_as_the_kernel_reads_it(case: Any) -> None:
    values, zeros, axis = case
    packed = pack_values(values, zeros, axis)
    assert wrong_coding(packed, values.shape, 1) == ("", "")
    again = unpack_values(packed, values.shape, values.dtype, zeros, axis)
    np.testing.assert_array_equal(again, values)
    np.testing.assert_array_equal(
        unpack_by_loops(packed, values.shape, zeros.tolist(), axis), values
    )
    assert packed.nbytes == packed_bytes(values.size, packed.stored)


@pytest.mark.parametrize("name", PACKED_TYPES)
def test_every_type_of_the_kernel_comes_back_bit_for_bit(name: str) -> None:
    values = np.array([0, 1, 0, 0, 3, 0, 0, 2, 0, 1]).astype(name).reshape(2, 5)
    packed = pack_values(values, NONE)
    assert packed.stored == 4
    again = unpack_values(packed, values.shape, values.dtype, NONE)
    assert again.tobytes() == values.tobytes()


def test_a_negative_zero_of_a_float_is_no_hole() -> None:
    values = np.array([0.0, -0.0, np.nan], np.float32)
    packed = pack_values(values, NONE)
    assert packed.stored == 2
    assert unpack_values(packed, (3,), values.dtype, NONE).tobytes() == values.tobytes()


def test_the_bytes_are_those_that_the_kernel_reads() -> None:
    values = np.array([[0, 5, 0, 0, 0], [-1, 0, 0, 0, 7]], np.int8)
    packed = pack_values(values, np.zeros(1, np.int64))
    assert packed.mask.tolist() == [0b01000100, 0b01000000]
    assert packed.ancillary[:16].tolist() == [2, 1, 0, 0, 1, *[0] * 11]
    assert packed.ancillary[16:].view(np.int8).tolist() == [5, -1, 7]


def spoilt(**changes: Any) -> PackedValues:
    packed = pack_values(np.array([[0, 5, 0, 0, 0], [-1, 0, 0, 0, 7]], np.int8), NONE)
    return PackedValues(
        changes.get("mask", packed.mask), changes.get("ancillary", packed.ancillary)
    )


@pytest.mark.parametrize(
    ("packed", "expected", "received"),
    [
        (spoilt(mask=np.array([0x44], np.uint8)), "a mask of 2 bytes for [2, 5]", "1 bytes"),
        (spoilt(mask=np.array([0x44, 0x41], np.uint8)), "zeros behind the last bit", "ones"),
        (spoilt(mask=np.array([0x45, 0x40], np.uint8)), "4 bytes for 4 ones", "3 bytes"),
        (spoilt(mask=np.array([0x04, 0x40], np.uint8)), "2 bytes for 2 ones", "3 bytes"),
        (
            spoilt(ancillary=np.array([2, 1, 0, 0, 2, *[0] * 11, 5, 6, 7], np.uint8)),
            "the header 02010000010000000000000000000000",
            "02010000020000000000000000000000",
        ),
    ],
)
def test_a_coding_that_the_kernel_would_read_on_behind_is_wrong(
    packed: PackedValues, expected: str, received: str
) -> None:
    found = wrong_coding(packed, (2, 5), 1)
    assert found[0].startswith(expected)
    assert found[1] == received
