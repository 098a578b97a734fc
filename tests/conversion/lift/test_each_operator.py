"""A quantized file is held against its lifted model operator by operator, in steps."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from hypothesis import given
from hypothesis import strategies as st

from edgeprune.conversion.lift.each_operator import first_apart, steps_between
from edgeprune.conversion.lift.lifted import Lifted, Unliftable
from edgeprune.conversion.lift.prove import prove
from edgeprune.conversion.lift.samples import held, samples_for
from edgeprune.conversion.lift.walk import lift
from edgeprune.tflite.format.file import read
from tests.support.lift_cases import SAME, ints, values
from tests.support.quantized_cases import STEPS, ZEROS, Bias, Given, Kernel, quantized
from tests.support.tflite_builder import Net


def conv(path: Path, *, bias: float = 1.0) -> Path:
    """A uint8 CONV_2D that saturates."""
    options = schema.Conv2DOptionsT(padding=SAME, strideH=1, strideW=1)
    options.dilationHFactor = options.dilationWFactor = 1
    given: Given = [(1, 5, 5, 3), Kernel(values(4, 3, 3, 3)), Bias(values(4, seed=8) * bias)]
    return quantized(path, "CONV_2D", given, [(1, 5, 5, 4)], options, numbers="uint8", version=1)


def chain(path: Path, steps: Sequence[float], *, last: str = "") -> Path:
    """QUANTIZE after QUANTIZE of int8 values `[1, 30]`; a function of reals behind them."""
    net = Net()
    tensors = [net.tensor(f"t{at}", (1, 30), "int8", scales=[s]) for at, s in enumerate(steps)]
    for before, after in itertools.pairwise(tensors):
        net.operator("QUANTIZE", [before], [after])
    if last:
        tensors += [net.tensor("real", (1, 30)), net.tensor("last", (1, 30))]
        net.operator("DEQUANTIZE", [tensors[-3]], [tensors[-2]])
        net.operator(last, [tensors[-2]], [tensors[-1]])
    return net.save(path, tensors[:1], tensors[-1:])


def padded(path: Path, op: str, *constants: Any) -> Path:
    pads = ints([0, 0], [1, 1], [1, 1], [0, 0])
    return quantized(
        path, op, [(1, 4, 4, 2), pads, *constants], [(1, 6, 6, 2)], numbers="uint8", version=2
    )


def test_a_quantized_file_is_proven_and_its_difference_given_in_steps(tmp_path: Path) -> None:
    proof = prove(lift(conv(tmp_path / "conv.tflite")))
    assert proof.steps is not None
    assert 0.1 < proof.steps < 1
    assert proof.difference == pytest.approx(proof.steps * STEPS["uint8"] / 4.2, rel=0.2)


def test_steps_of_values_that_become_floats_in_the_end_are_counted(tmp_path: Path) -> None:
    path = quantized(
        tmp_path / "out.tflite", "DEQUANTIZE", [(1, 9)], [(1, 9)], numbers="int8", dtype="float32"
    )
    assert prove(lift(path)).steps == pytest.approx(0, abs=1e-5)
    assert prove(lift(chain(tmp_path / "real.tflite", [0.1, 0.2], last="SIN"))).steps is None


def test_rounding_that_adds_up_is_no_fault_of_the_lift(tmp_path: Path) -> None:
    proof = prove(lift(chain(tmp_path / "chain.tflite", [0.01, 0.16, 0.01])))
    assert proof.steps is not None
    assert 6 < proof.steps < 9


def cut_off(lifted: Lifted, _: Path) -> Lifted:
    (layer,) = [each for each in lifted.model.layers if each.name.endswith("saturated")]
    layer.high = 100.0
    return lifted


def other_bias(lifted: Lifted, folder: Path) -> Lifted:
    return of_other(lifted, lift(conv(folder / "bias.tflite", bias=1.3)))


def other_zero(lifted: Lifted, _: Path) -> Lifted:
    """As if 128 stood for a weight of zero, not 131."""
    layer = lifted.model.layers[1]
    kernel, bias = layer.get_weights()
    (found,) = lifted.weights.values()
    layer.set_weights([kernel + 3 * lifted.graph.tensors[found.kernel].scales[0], bias])
    return lifted


def of_other(lifted: Lifted, other: Lifted) -> Lifted:
    """The model of another file with the same tensors, as if it were this one's."""
    return dataclasses.replace(lifted, model=other.model)


@pytest.mark.parametrize("spoil", [cut_off, other_bias, other_zero])
def test_a_wrong_lift_of_a_quantized_operator_is_named_in_steps(
    spoil: Callable[[Lifted, Path], Lifted], tmp_path: Path
) -> None:
    lifted = spoil(lift(conv(tmp_path / "conv.tflite")), tmp_path)
    with pytest.raises(
        Unliftable, match=r"operator 0 \(CONV_2D\): .* by \d.* quantization steps"
    ) as failed:
        prove(lifted)
    assert [each.operator for each in failed.value.obstacles] == [0]


def test_a_border_of_another_value_than_zero_is_found(tmp_path: Path) -> None:
    zeros = lift(padded(tmp_path / "zeros.tflite", "PAD"))
    lowest = np.full(1, -ZEROS["uint8"] * STEPS["uint8"], np.float32)
    other = lift(padded(tmp_path / "other.tflite", "PADV2", lowest))
    prove(zeros)
    pairs = zip(zeros.graph.outputs, other.graph.outputs, strict=True)
    tensors = {**zeros.tensors, **{index: other.tensors[at] for index, at in pairs}}
    with pytest.raises(Unliftable, match=r"operator 0 \(PAD\): .* by 11\d quantization steps"):
        prove(dataclasses.replace(zeros, model=other.model, tensors=tensors))


def test_an_operator_on_floats_behind_quantized_ones_is_judged_by_its_values(
    tmp_path: Path,
) -> None:
    lifted, other = (
        lift(chain(tmp_path / f"{last}.tflite", [0.1, 0.2], last=last)) for last in ("SIN", "COS")
    )
    assert 0.01 < prove(lifted).difference < 0.11
    with pytest.raises(Unliftable, match=r"operator 2 \(SIN\): .* of the largest"):
        prove(of_other(lifted, other))


@pytest.mark.parametrize("most", [1, 10_000])
def test_values_are_compared_in_as_many_runs_as_they_need(most: int, tmp_path: Path) -> None:
    lifted = lift(chain(tmp_path / "chain.tflite", [0.1, 0.05, 0.02, 0.01]))
    arrays = samples_for(lifted.graph)
    assert first_apart(lifted, arrays, tmp_path, most) is None
    layer = lifted.model.layers[-1]
    layer.high = layer.high / 2
    found = first_apart(lifted, arrays, tmp_path, most)
    assert found is not None
    assert (found.operator, found.name) == (2, "QUANTIZE")


def test_samples_that_are_made_up_reach_over_the_whole_range(tmp_path: Path) -> None:
    (samples,) = samples_for(read(conv(tmp_path / "conv.tflite")))
    assert samples.shape == (2, 5, 5, 3)
    assert samples.min() < -115 * 0.03 * 0.9
    assert samples.max() > 140 * 0.03 * 0.9


@given(x=st.lists(st.floats(-1e4, 1e4, width=32), min_size=1))
def test_given_samples_become_the_nearest_values_that_the_input_holds(
    tmp_path_factory: pytest.TempPathFactory, x: list[float]
) -> None:
    path = tmp_path_factory.getbasetemp() / "steps.tflite"
    graph = read(path if path.exists() else chain(path, [0.25, 0.5]))
    made = held(graph.tensors[graph.inputs[0]], np.array(x, np.float32))
    expected = np.clip(np.rint(np.array(x) / 0.25), -128, 127) * 0.25
    np.testing.assert_allclose(made, expected)


def test_steps_between_values_that_are_none_are_infinite() -> None:
    assert steps_between(np.array([1.0, np.nan]), np.array([1.0, 2.0]), 0.5) == np.inf
    assert steps_between(np.array([1.0]), np.array([1.0, 2.0]), 0.5) == np.inf
    assert steps_between(np.array([1.0, 4.0]), np.array([1.0, 2.0]), 0.5) == 4
