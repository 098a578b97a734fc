"""Layers of a quantized file that are mended by what they give."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgeprune.conversion.int8.patches import as_matrix, patches
from edgeprune.conversion.int8.refine import channel_sums, stream_of
from edgeprune.conversion.int8.segments import Stream
from edgeprune.conversion.lift.mend.layers import (
    MendedLayer,
    correctable,
    may_be_rounded,
    mend_layers,
)
from edgeprune.conversion.lift.mend.rescale import put_data
from edgeprune.core.arrays import Array
from edgeprune.tflite.format.draft import Draft, load, reread
from edgeprune.tflite.format.graph import Operator, Tensor
from tests.support.quantized_networks import Kind, quantized_net

KINDS: list[Kind] = ["int8", "uint8"]
IMAGES = np.random.default_rng(1).uniform(-1, 1, (32, 8, 8, 3)).astype(np.float32)


def opened(path: Path, kind: Kind) -> Draft:
    return load(quantized_net(path, kind))


def streamed(draft: Draft) -> Stream:
    return stream_of(draft, {"x0": IMAGES}, delegates=False)


def operator_of(draft: Draft, name: str) -> Operator:
    return next(o for o in draft.graph.operators if draft.graph.tensors[o.outputs[0]].name == name)


def sums_of(draft: Draft) -> dict[int, Array]:
    """The sums of every layer's output, as the file gives them."""
    stream, found = streamed(draft), {}
    for operator in stream.main.operators:
        stream.step(operator)
        found[operator.outputs[0]] = channel_sums(stream.real(operator.outputs[0]), -np.inf, np.inf)
    return found


def moved(kernel: Tensor, share: float) -> tuple[Array, Array]:
    """Weights of which a share is off the grid by less than half a step; and which those are."""
    random, stored = np.random.default_rng(0), kernel.values()
    assert stored is not None
    zero = int(kernel.zero_points[0])
    shape = (-1, 1, 1, 1) if kernel.scales.size > 1 else (1, 1, 1, 1)
    steps = stored.astype(float) - zero
    off = (random.uniform(size=steps.shape) < share) & (steps != 0)
    off &= np.abs(steps) < 120
    shift = np.where(off, random.uniform(0.1, 0.45, steps.shape), 0)
    return ((steps + shift) * kernel.scales.reshape(shape)).astype(np.float32), off


def rounded(draft: Draft, weights: Array) -> Draft:
    wide = operator_of(draft, "wide")
    layer = MendedLayer(sums_of(draft)[wide.outputs[0]], weights)
    mend_layers(streamed(draft), {wide.outputs[0]: layer}, rounding=True)
    return reread(draft)


def kernel_of(draft: Draft) -> tuple[Array, Array]:
    """The steps and the real values of the weights of "wide"."""
    kernel = draft.graph.tensors[operator_of(draft, "wide").inputs[1]]
    stored = kernel.values()
    assert stored is not None
    steps = stored.astype(int) - int(kernel.zero_points[0])
    return steps, steps * kernel.scales.reshape(-1, 1, 1, 1).astype(float)


@pytest.mark.parametrize("kind", KINDS)
def test_weights_that_stand_in_the_file_exactly_keep_their_bytes(
    kind: Kind, tmp_path: Path
) -> None:
    draft = opened(tmp_path / "m.tflite", kind)
    wide = operator_of(draft, "wide")
    weights, off = moved(draft.graph.tensors[wide.inputs[1]], share=0.3)
    before, _ = kernel_of(draft)
    after, _ = kernel_of(rounded(draft, weights))
    np.testing.assert_array_equal(after[~off], before[~off])
    assert np.any(after[off] != before[off])
    assert not after[before == 0].any()


@pytest.mark.parametrize("kind", KINDS)
def test_rounded_weights_give_what_is_wanted_more_nearly_than_the_nearest(
    kind: Kind, tmp_path: Path
) -> None:
    draft = opened(tmp_path / "m.tflite", kind)
    wide = operator_of(draft, "wide")
    kernel = draft.graph.tensors[wide.inputs[1]]
    weights, _ = moved(kernel, share=0.9)
    stream = streamed(draft)
    for operator in stream.main.operators[: wide.index]:
        stream.step(operator)
    every = np.tile(np.arange(64), (len(IMAGES), 1))
    read = patches(wide, kernel, stream.real(wide.inputs[0]), every)

    def error(values: Array) -> float:
        apart = read @ as_matrix("CONV_2D", values - weights).T
        return float(np.sum((apart - apart.mean(axis=0)) ** 2))

    nearest = kernel_of(draft)[1]
    assert error(kernel_of(rounded(draft, weights))[1]) < error(nearest)


@pytest.mark.parametrize("kind", KINDS)
def test_a_bias_that_is_off_is_corrected_to_a_step_of_the_output(
    kind: Kind, tmp_path: Path
) -> None:
    draft = opened(tmp_path / "m.tflite", kind)
    wide = operator_of(draft, "wide")
    sums = sums_of(draft)[wide.outputs[0]]
    bias, output = draft.graph.tensors[wide.inputs[2]], draft.graph.tensors[wide.outputs[0]]
    stored = bias.values()
    assert stored is not None
    put_data(draft, bias.index, stored + np.round(0.4 / bias.scales).astype(np.int32))
    off = sums_of(draft)[wide.outputs[0]][0] - sums[0]
    mend_layers(streamed(draft), {wide.outputs[0]: MendedLayer(sums, None)}, rounding=True)
    left = sums_of(draft)[wide.outputs[0]][0] - sums[0]
    assert np.abs(off).min() > 0.3
    assert np.abs(left).max() < output.scales[0]


@pytest.mark.parametrize("kind", KINDS)
def test_a_bias_goes_with_a_new_scale_of_the_weights(kind: Kind, tmp_path: Path) -> None:
    draft = opened(tmp_path / "m.tflite", kind)
    wide = operator_of(draft, "wide")
    weights, _ = moved(draft.graph.tensors[wide.inputs[1]], share=1.1)
    made = rounded(draft, weights * np.float32(0.57))
    given, kernel, bias = (made.graph.tensors[index] for index in wide.inputs)
    np.testing.assert_allclose(bias.scales, given.scales * kernel.scales, rtol=1e-6)


def test_layers_with_a_bias_of_their_own_can_be_corrected_and_small_ones_rounded(
    tmp_path: Path,
) -> None:
    main = opened(tmp_path / "m.tflite", "int8").graph.subgraphs[0]
    found = list(correctable(main))
    assert [main.tensors[o.outputs[0]].name for o in found] == ["stem", "deep", "wide", "scores"]
    assert all(may_be_rounded(main, operator) for operator in found)
