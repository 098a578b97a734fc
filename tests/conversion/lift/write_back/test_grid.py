"""Grids that the integers of constants lie on."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from edgeprune.conversion.lift.site import restored
from edgeprune.conversion.lift.write_back.grid import bias_grid, kept_grid, least_scale
from edgeprune.conversion.lift.write_back.stored import store_on
from edgeprune.tflite.format.graph import Subgraph, Tensor

STEPS = st.floats(2**-12, 1.0, width=32)


def constant(integers: Any, scales: Any, zeros: Any = 0, axis: int = 0) -> Tensor:
    values = np.asarray(integers)
    return Tensor(
        index=0,
        name="w",
        shape=values.shape,
        shape_signature=values.shape,
        dtype=values.dtype.name,
        buffer=1,
        data=np.ascontiguousarray(values).reshape(-1).view(np.uint8),
        encoding=None,
        scales=np.array(scales, np.float32),
        zero_points=np.full(len(scales), zeros, np.int64),
        quantized_dimension=axis,
        variable=False,
    )


def real(tensor: Tensor) -> Any:
    found = restored(Subgraph("main", (tensor,), (), (), ()), 0)
    assert found is not None
    return found


def written(tensor: Tensor, values: Any) -> Any:
    """The integers that values get, and what they then stand for."""
    stored = store_on(kept_grid(tensor, values), tensor, values)
    return stored.data.view(tensor.dtype).reshape(values.shape), stored


@given(
    integers=arrays.arrays(np.int8, (3, 6)),
    scales=st.lists(STEPS, min_size=3, max_size=3, unique=True),
    zeroed=arrays.arrays(np.bool_, (3, 6)),
)
def test_weights_that_are_kept_keep_their_integers_and_the_others_are_zero(
    integers: Any, scales: list[float], zeroed: Any
) -> None:
    tensor = constant(integers, scales)
    pruned = np.where(zeroed, np.float32(0), real(tensor))
    found, stored = written(tensor, pruned)
    assert stored.fresh == 0
    np.testing.assert_array_equal(stored.read, pruned)
    same = stored.scales == tensor.scales
    np.testing.assert_array_equal(found[same], np.where(zeroed, 0, integers)[same])


@given(
    integers=arrays.arrays(np.uint8, (4, 5)),
    scale=STEPS,
    zero=st.integers(0, 255),
    kept=st.lists(st.integers(0, 3), min_size=1, unique=True),
)
def test_one_zero_point_for_all_stays_whichever_channels_go(
    integers: Any, scale: float, zero: int, kept: list[int]
) -> None:
    tensor = constant(integers, [scale], zero)
    found, stored = written(tensor, real(tensor)[sorted(kept)])
    assert (stored.zero_points.tolist(), stored.fresh) == ([zero], 0)
    np.testing.assert_array_equal(found, integers[sorted(kept)])


@given(
    integers=arrays.arrays(np.int8, (4, 9), elements=st.integers(-127, 127)),
    kept=st.lists(st.integers(0, 3), min_size=1, unique=True),
)
def test_channels_that_are_left_are_found_on_their_own_grids(
    integers: Any, kept: list[int]
) -> None:
    tensor = constant(integers, [0.011, 0.017, 0.023, 0.031])
    _, stored = written(tensor, real(tensor)[kept])
    assert stored.fresh == 0
    np.testing.assert_array_equal(stored.read, real(tensor)[kept])


@given(
    values=arrays.arrays(np.float32, (3, 7), elements=st.floats(-4, 4, width=32)),
    kind=st.sampled_from([("int8", 0), ("uint8", 100), ("uint8", 0)]),
)
# Values that call for the finest scale of all once got it with the old zero point, and were cut.
@example(values=np.full((3, 7), 1 / 128, np.float32), kind=("uint8", 100))
def test_no_value_is_cut_whatever_the_range_of_the_file(values: Any, kind: tuple[str, int]) -> None:
    dtype, zero = kind
    tensor = constant(np.zeros((3, 7), dtype), [0.01], zero)
    _, stored = written(tensor, values)
    assert np.abs(stored.read - values).max() <= stored.scales.max() * 0.51
    assert (stored.read[values == 0] == 0).all()


@pytest.mark.parametrize(
    ("factor", "fresh"), [(0.9, [0, 0]), (1.2, [1, 1]), (0.3, [1, 1]), (1.0, [0, 0])]
)
def test_a_slice_keeps_its_scale_while_its_values_use_half_of_the_range(
    factor: float, fresh: list[int]
) -> None:
    integers = np.array([[127, -3, 55, 21], [4, -127, 8, 90]], np.int8)
    tensor = constant(integers, [0.013, 0.029])
    grid = kept_grid(tensor, real(tensor) * np.float32(factor))
    assert (grid.scales != tensor.scales).astype(int).tolist() == fresh
    assert grid.fresh == sum(fresh)


def test_a_channel_of_zeros_keeps_a_scale_of_the_file() -> None:
    tensor = constant(np.ones((3, 4), np.int8), [0.01, 0.02, 0.03])
    grid = kept_grid(tensor, np.zeros((2, 4), np.float32))
    assert set(grid.scales.tolist()) <= set(tensor.scales.tolist())
    assert grid.fresh == 0


def test_a_bias_has_the_scale_of_the_input_times_that_of_the_kernel_as_the_file_wrote_it() -> None:
    kernel = kept_grid(constant(np.full((2, 3), 100, np.int8), [0.1, 0.2]), real_kernel())
    old = np.float32(0.5) * np.float32(0.1) * np.float32(1 + 1e-6)
    grid = bias_grid(constant(np.array([7, 9], np.int32), [old, 0.1]), 0.5, kernel)
    assert grid.scales.tolist() == [old, pytest.approx(0.5 * kernel.scales[1])]


def real_kernel() -> Any:
    """The first row is on its grid, the second leaves its range."""
    return np.array([[10, 10, 10], [30, 30, 30]], np.float32)


def test_a_kernel_of_tiny_values_leaves_its_bias_within_32_bits() -> None:
    tensor = constant(np.ones((2, 4), np.int8), [0.01, 0.02])
    floor = least_scale(np.array([5e5, 1.0]), 0.5)
    grid = kept_grid(tensor, np.full((2, 4), 0.003, np.float32), floor)
    assert 5e5 / (0.5 * grid.scales[0]) <= 2**30
    assert grid.scales[1] == pytest.approx(0.01 / 256)
