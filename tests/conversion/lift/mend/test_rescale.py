"""Files with other ranges of activations."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeprune.conversion.int8.ranges import Range
from edgeprune.conversion.lift.mend.rescale import rescaled, step_of
from edgeprune.tflite.format.draft import load
from edgeprune.tflite.format.graph import Graph, Tensor
from tests.support.quantized_networks import Kind, quantized_net


def named(graph: Graph, name: str) -> Tensor:
    return next(tensor for tensor in graph.tensors if tensor.name == name)


@settings(max_examples=40)
@given(
    st.sampled_from(["int8", "uint8"]),
    st.floats(-100, 0, allow_subnormal=False),
    st.floats(0.01, 100),
)
def test_a_step_holds_the_ends_of_a_range_to_half_of_it_and_0_exactly(
    dtype: str, low: float, high: float
) -> None:
    scale, zero = step_of(dtype, Range(low, high))
    limits = np.iinfo(dtype)
    assert limits.min <= zero <= limits.max
    held = [(int(end) - zero) * float(scale) for end in (limits.min, limits.max)]
    assert held == pytest.approx([low, high], abs=0.501 * float(scale))


def test_a_range_above_0_still_has_0() -> None:
    assert step_of("int8", Range(2.0, 5.1)) == (np.float32(5.1 / 255), -128)


@pytest.mark.parametrize("kind", ["int8", "uint8"])
def test_a_bias_keeps_its_values_in_the_new_steps_of_its_input(kind: Kind, tmp_path: Path) -> None:
    draft = load(quantized_net(tmp_path / "m.tflite", kind))
    before = draft.graph
    deep = named(before, "deep").index
    after = rescaled(draft, {deep: Range(-2.0, 2.5)}).graph
    assert float(named(after, "deep").scales[0]) == pytest.approx(4.5 / 255)
    steps = named(after, "deep").scales[0] * named(after, "wide/w").scales
    np.testing.assert_allclose(named(after, "wide/b").scales, steps, rtol=1e-6)
    real = []
    for graph in (before, after):
        bias = named(graph, "wide/b")
        values = bias.values()
        assert values is not None
        real.append(values * bias.scales.astype(float))
    np.testing.assert_allclose(real[1], real[0], atol=float(steps.max()))


@pytest.mark.parametrize("kind", ["int8", "uint8"])
def test_all_else_stays_as_it_is(kind: Kind, tmp_path: Path) -> None:
    draft = load(quantized_net(tmp_path / "m.tflite", kind))
    before = draft.graph
    after = rescaled(draft, {named(before, "deep").index: Range(-2.0, 2.5)}).graph
    for one, other in zip(before.tensors, after.tensors, strict=True):
        assert one.name == other.name
        if one.name not in ("deep", "wide/b"):
            np.testing.assert_array_equal(one.data, other.data)
            np.testing.assert_array_equal(one.scales, other.scales)
            np.testing.assert_array_equal(one.zero_points, other.zero_points)


def test_a_bias_beyond_32_bits_in_its_new_steps_is_refused(tmp_path: Path) -> None:
    draft = load(quantized_net(tmp_path / "m.tflite"))
    deep = named(draft.graph, "deep").index
    with pytest.raises(ValueError, match="'wide/b' needs more than 32 bits"):
        rescaled(draft, {deep: Range(0.0, 1e-6)})
