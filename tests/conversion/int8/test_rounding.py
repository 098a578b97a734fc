from __future__ import annotations

import itertools

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeprune.conversion.int8 import rounding
from edgeprune.conversion.int8.patches import as_matrix, from_matrix, patches
from edgeprune.conversion.int8.rounding import (
    best_scales,
    error_of,
    nearest,
    products,
    round_weights,
)
from edgeprune.core.arrays import Array
from edgeprune.tflite.format.graph import Operator, Tensor

SEEDS = st.integers(0, 2**32 - 1)


def problem(seed: int, *, apart: bool, inputs: int = 12, outputs: int = 5) -> tuple[Array, Array]:
    """Inputs that go together, and weights of which some are 0."""
    generator = np.random.default_rng(seed)
    shape = (outputs, 60, inputs) if apart else (60, inputs)
    rows = generator.normal(size=shape) + 2 * generator.normal(size=(*shape[:-1], 1))
    weights = generator.normal(size=(outputs, inputs))
    weights[generator.uniform(size=weights.shape) < 0.4] = 0
    return rows, weights


def by_loops(rows: Array, moved: Array) -> list[float]:
    """The squared error of every output, with 0.3 of its mean."""
    found = []
    for output, row in enumerate(moved):
        x = rows if rows.ndim == 2 else rows[output]
        given = np.array([sum(a * b for a, b in zip(sample, row, strict=True)) for sample in x])
        found.append(float(np.sum((given - 0.7 * given.mean()) ** 2)))
    return found


@given(SEEDS, st.booleans())
def test_the_error_is_that_of_what_the_layer_gives_with_less_of_its_mean(
    seed: int, apart: bool
) -> None:
    rows, weights = problem(seed, apart=apart)
    np.testing.assert_allclose(error_of(products(rows), weights), by_loops(rows, weights))


@settings(max_examples=60)
@given(SEEDS, st.booleans(), st.sampled_from([3, 64]), st.sampled_from([0.0, 0.05]))
def test_weights_are_never_worse_than_the_nearest_and_zeros_stay(
    seed: int, apart: bool, block: int, steady: float
) -> None:
    rows, weights = problem(seed, apart=apart)
    sums = products(rows, steady=steady)
    scales = (np.abs(weights).max(axis=1) / 100 + 1e-3).astype(np.float32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rounding, "_BLOCK", block)
        found = round_weights(sums, weights, scales)
    plain = nearest(weights, scales)
    assert np.all(found.stored[weights == 0] == 0)
    assert np.abs(found.stored).max() <= 127
    errors = [error_of(sums, grid.real - weights) for grid in (found, plain)]
    assert np.all(errors[0] <= errors[1] * (1 + 1e-9) + 1e-12)


def test_weights_are_nearly_the_best_of_all_on_tiny_layers() -> None:
    """Three weights, each at one of 11 places: all 1331 are tried."""
    ours, best, plain = 0.0, 0.0, 0.0
    for seed in range(30):
        rows, weights = problem(seed, apart=False, inputs=3, outputs=1)
        sums, scales = products(rows), np.full(1, 0.7, np.float32)
        start = nearest(weights, scales).stored[0].astype(int)
        places = [
            range(k - 5, k + 6) if w else (0,) for k, w in zip(start, weights[0], strict=True)
        ]
        tried = np.array(list(itertools.product(*places))) * float(scales[0])
        best += error_of(sums, tried - weights).min()
        ours += error_of(sums, round_weights(sums, weights, scales).real - weights)[0]
        plain += error_of(sums, nearest(weights, scales).real - weights)[0]
    assert best <= ours < 1.5 * best
    assert ours < 0.8 * plain


@given(SEEDS, st.booleans())
def test_a_scale_is_the_best_of_those_tried_and_one_for_all_where_shared(
    seed: int, apart: bool
) -> None:
    rows, weights = problem(seed, apart=apart)
    sums, largest = products(rows), np.abs(weights).max(axis=1)
    whole = (largest / 127).astype(np.float32)
    errors = error_of(sums, nearest(weights, whole).real - weights)
    apart_scales, shared = (best_scales(sums, weights, shared=one) for one in (False, True))
    found = error_of(sums, nearest(weights, apart_scales).real - weights)
    assert np.all(found <= errors * (1 + 1e-9))
    assert len(set(shared.tolist())) == 1
    assert shared.dtype == apart_scales.dtype == np.float32


def test_outputs_without_weights_have_a_scale() -> None:
    rows, weights = problem(0, apart=False)
    weights[2] = 0
    scales = best_scales(products(rows), weights, shared=False)
    assert np.all(scales > 0)
    assert not np.any(round_weights(products(rows), weights, scales).stored[2])


def convolution(op: str, stride: int, dilation: int, padding: int) -> Operator:
    kind = schema.Conv2DOptionsT if op == "CONV_2D" else schema.DepthwiseConv2DOptionsT
    options = kind(strideH=stride, strideW=1, padding=padding)
    options.dilationHFactor, options.dilationWFactor = dilation, 1
    return Operator(0, op, False, 1, (0, 1), (2,), options)


def weights_tensor(shape: tuple[int, ...]) -> Tensor:
    empty = np.empty(0, np.uint8)
    return Tensor(1, "w", shape, shape, "int8", 1, empty, None, empty, empty, 0, False)


@pytest.mark.parametrize("op", ["CONV_2D", "DEPTHWISE_CONV_2D"])
@pytest.mark.parametrize(("stride", "dilation"), [(1, 1), (2, 1), (1, 2), (3, 2)])
@pytest.mark.parametrize("padding", [schema.Padding.SAME, schema.Padding.VALID])
def test_patches_times_weights_are_what_tensorflow_computes(
    op: str, stride: int, dilation: int, padding: int
) -> None:
    from edgeprune.conversion.int8.patches import _windows

    generator = np.random.default_rng(0)
    values = generator.normal(size=(2, 1, 9, 7, 4))
    shape = (5, 3, 2, 4) if op == "CONV_2D" else (1, 3, 2, 4)
    weights, operator = generator.normal(size=shape), convolution(op, stride, dilation, padding)
    height, width = _windows(operator, shape[1:3], values[:, 0]).shape[1:3]
    positions = np.tile(np.arange(height * width), (2, 1))
    rows = patches(operator, weights_tensor(shape), values, positions)
    matrix = as_matrix(op, weights)
    found = np.einsum("onk,ok->no", rows, matrix) if rows.ndim == 3 else rows @ matrix.T
    wanted = by_definition(op, values[:, 0], weights, (stride, dilation), padding)
    np.testing.assert_allclose(found.reshape(2, height, width, -1), wanted)
    np.testing.assert_array_equal(from_matrix(op, matrix, shape), weights)


def by_definition(
    op: str, image: Array, weights: Array, steps: tuple[int, int], padding: int
) -> Array:
    """A convolution by loops over the kernel; only rows have a stride and a dilation."""
    stride, dilation = steps
    high, wide = (weights.shape[1] - 1) * dilation + 1, weights.shape[2]
    sizes = image.shape[1:3]
    if padding == schema.Padding.SAME:
        rows = -(-sizes[0] // stride)
        total = max(0, (rows - 1) * stride + high - sizes[0])
        ends = [(total // 2, total - total // 2), ((wide - 1) // 2, wide - 1 - (wide - 1) // 2)]
        image = np.pad(image, [(0, 0), *ends, (0, 0)])
    height = (image.shape[1] - high) // stride + 1
    width = image.shape[2] - wide + 1
    found = np.zeros((len(image), height, width, weights.shape[0 if op == "CONV_2D" else 3]))
    for i, j in itertools.product(range(weights.shape[1]), range(wide)):
        part = image[:, i * dilation :: stride, j:][:, :height, :width]
        single = weights[:, i, j, :].T if op == "CONV_2D" else np.diag(weights[0, i, j])
        found += part @ single
    return found


def test_fully_connected_rows_are_the_inputs() -> None:
    values = np.random.default_rng(0).normal(size=(3, 1, 6))
    operator = Operator(0, "FULLY_CONNECTED", False, 1, (0, 1), (2,), None)
    positions = np.zeros((3, 1), int)
    rows = patches(operator, weights_tensor((4, 6)), values, positions)
    np.testing.assert_array_equal(rows, values[:, 0])
