from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeprune.core.device_matrix import (
    device_shape,
    input_channels,
    tfmot_pattern,
    to_device,
    to_keras,
)
from edgeprune.core.errors import PatternError
from edgeprune.core.pattern import Block, NofM, Pattern, Unstructured
from edgeprune.core.terms import LAYER_KINDS

RANKS = {kind: 2 if kind == "Dense" else 3 if "1D" in kind else 4 for kind in LAYER_KINDS}


@st.composite
def kernels(draw: st.DrawFn) -> tuple[str, Any]:
    kind = draw(st.sampled_from(LAYER_KINDS))
    shape = tuple(draw(st.integers(1, 6)) for _ in range(RANKS[kind]))
    return kind, np.arange(np.prod(shape)).reshape(shape)


@given(kernels())
def test_there_and_back_is_the_identity(case: tuple[str, Any]) -> None:
    kind, kernel = case
    matrix = to_device(kind, kernel)
    assert matrix.shape == device_shape(kind, kernel.shape)
    np.testing.assert_array_equal(to_keras(kind, matrix, kernel.shape), kernel)


@given(kernels())
def test_entries_stand_where_the_tables_of_the_format_put_them(case: tuple[str, Any]) -> None:
    """A loop over every weight, written from the TFLite operators' weight layouts."""
    kind, kernel = case
    matrix = to_device(kind, kernel)
    for index in np.ndindex(*kernel.shape):
        match kind:
            case "Dense":
                row, column = index[1], index[0]
            case "Conv1DTranspose" | "Conv2DTranspose":
                *position, out, channel = index
                row = out
                column = _flat([*position, channel], [*kernel.shape[:-2], kernel.shape[-1]])
            case "DepthwiseConv1D" | "DepthwiseConv2D":
                *position, channel, multiplier = index
                row = channel * kernel.shape[-1] + multiplier
                column = _flat(position, list(kernel.shape[:-2]))
            case _:
                row, column = index[-1], _flat(index[:-1], list(kernel.shape[:-1]))
        assert matrix[row, column] == kernel[index]


def _flat(index: Any, sizes: list[int]) -> int:
    flat = 0
    for position, size in zip(index, sizes, strict=True):
        flat = flat * size + position
    return flat


def test_the_channel_runs_fastest_within_a_row() -> None:
    kernel = np.zeros((3, 3, 4, 2))
    kernel[0, 1, 2, 1] = 1  # row 1, position 1, channel 2
    assert np.argwhere(to_device("Conv2D", kernel)).tolist() == [[1, 1 * 4 + 2]]
    assert input_channels("Conv2D", kernel.shape) == 4


def test_depthwise_kernels_have_a_row_per_channel() -> None:
    assert device_shape("DepthwiseConv2D", (3, 3, 16, 2)) == (32, 9)
    assert input_channels("DepthwiseConv2D", (3, 3, 16, 2)) == 1


def test_wrong_shapes_and_kinds_are_refused() -> None:
    with pytest.raises(PatternError, match="has 4 axes"):
        device_shape("Conv2D", (3, 3, 4))
    with pytest.raises(PatternError, match="LSTM"):
        device_shape("LSTM", (3, 4))
    with pytest.raises(PatternError, match=r"\[5, 3\]"):
        to_keras("Dense", np.zeros((5, 3)), (5, 3))


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (((1, 1), None), Unstructured()),
        (((4, 1), None), Block(1, 4)),
        (((1, 2), None), Block(2, 1)),
        (((2, 3), (1, 4)), NofM(3, 4)),
        (((1, 1), [2, 4]), NofM(2, 4)),
    ],
)
def test_tfmot_options_read_as_patterns(given: Any, expected: Pattern) -> None:
    assert tfmot_pattern(*given) == expected


@pytest.mark.parametrize("given", [((1,), None), ((1, 1), (4, 4)), ((1, 1), (2.0, 4)), (3, None)])
def test_tfmot_options_that_make_no_sense_are_refused(given: Any) -> None:
    with pytest.raises(PatternError):
        tfmot_pattern(*given)
