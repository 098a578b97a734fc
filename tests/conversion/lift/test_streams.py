"""What a file keeps of one run for the next is, in Keras, the samples before in the batch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from hypothesis import given
from hypothesis import strategies as st

from edgeprune.conversion.lift.layers import Past
from edgeprune.conversion.lift.lifted import Unliftable
from edgeprune.conversion.lift.prove import prove
from edgeprune.conversion.lift.walk import lift
from edgeprune.keras_model.files import load_model, save_model
from tests.support.lift_cases import Array, ints, values
from tests.support.tflite_builder import Net

LENGTH, NEW, CHANNELS = 3, 2, 4
STEP: dict[str, Any] = {"scales": [0.05], "zero_point": -7}


def named(net: Net) -> int:
    """The variable, as a subgraph refers to it."""
    handle = net.tensor("handle", (), "resource")
    options = schema.VarHandleOptionsT(container=b"", sharedName=b"kept")
    net.operator("VAR_HANDLE", [], [handle], 1, options)
    return handle


def first_values(net: Net, start: Array, **quantization: Any) -> None:
    """A second subgraph, which puts values into the variable."""
    main, net.graph = net.graph, schema.SubGraphT(tensors=[], operators=[], name=b"once")
    net.model.subgraphs.append(net.graph)
    net.graph.inputs = net.graph.outputs = ints()
    constant = net.constant("start", start, **quantization)
    net.operator("ASSIGN_VARIABLE", [named(net), constant], [], 1, schema.AssignVariableOptionsT())
    net.graph = main


def stream(
    path: Path, *, begin: int = NEW, kept: Any = STEP, writes: int = 1, starts: bool = True
) -> Path:
    """int8 `[1, 2, 4]`, behind the three places before, through a matrix to `[1, 2]`."""
    net = Net()
    x = net.tensor("x", (1, NEW, CHANNELS), "int8", **STEP)
    read = net.tensor("read", (1, LENGTH, CHANNELS), "int8", **kept)
    row = net.tensor("row", (1, LENGTH + NEW, CHANNELS), "int8", **STEP)
    end = net.tensor("end", (1, LENGTH, CHANNELS), "int8", **STEP)
    y = net.tensor("y", (1, 2), "int8", scales=[0.3])
    if starts:
        net.operator("CALL_ONCE", [], [], 1, schema.CallOnceOptionsT(initSubgraphIndex=1))
        start = np.arange(LENGTH * CHANNELS, dtype=np.int8).reshape(1, LENGTH, CHANNELS)
        first_values(net, start, **STEP)
    handle = named(net)
    net.operator("READ_VARIABLE", [handle], [read], 1, schema.ReadVariableOptionsT())
    net.operator("CONCATENATION", [read, x], [row], 1, schema.ConcatenationOptionsT(axis=1))
    places = [(0, begin, 0), (1, begin + LENGTH, CHANNELS), (1, 1, 1)]
    cut = [net.constant(f"cut{at}", ints(*numbers)) for at, numbers in enumerate(places)]
    net.operator("STRIDED_SLICE", [row, *cut], [end], 1, schema.StridedSliceOptionsT())
    for _ in range(writes):
        net.operator("ASSIGN_VARIABLE", [handle, end], [], 1, schema.AssignVariableOptionsT())
    matrix = np.rint(values(2, (LENGTH + NEW) * CHANNELS) * 40).astype(np.int8)
    weights = net.constant("w", matrix, scales=[0.02])
    net.operator("FULLY_CONNECTED", [row, weights, -1], [y], 1, schema.FullyConnectedOptionsT())
    return net.save(path, [x], [y])


def test_samples_that_follow_each_other_give_what_the_interpreter_gives(tmp_path: Path) -> None:
    lifted = lift(stream(tmp_path / "stream.tflite"))
    assert lifted.model.input_shape == (None, NEW, CHANNELS)
    proof = prove(lifted)
    assert proof.steps is not None
    assert 0.1 < proof.steps < 0.6


def test_a_past_of_other_values_is_found(tmp_path: Path) -> None:
    lifted = lift(stream(tmp_path / "stream.tflite"))
    layer = lifted.model.get_layer("row")
    layer.set_weights([layer.get_weights()[0] + 1])
    with pytest.raises(Unliftable, match=r"operator 3 \(CONCATENATION\): .* by 20 quantization"):
        prove(lifted)


@pytest.mark.parametrize(
    "make",
    [
        lambda path: stream(path, begin=0),
        lambda path: stream(path, kept={"scales": [0.06], "zero_point": -7}),
        lambda path: stream(path, writes=2),
        lambda path: stream(path, starts=False),
    ],
)
def test_a_variable_that_is_no_window_is_refused(
    make: Callable[[Path], Path], tmp_path: Path
) -> None:
    with pytest.raises(Unliftable, match=r"odd.tflite: .*\(READ_VARIABLE\)"):
        lift(make(tmp_path / "odd.tflite"))


@given(st.integers(1, 5), st.integers(1, 4), st.integers(1, 6))
def test_each_sample_stands_behind_the_places_before_it(
    samples: int, new: int, length: int
) -> None:
    x, start = values(samples, new, 2), values(length, 2, seed=3)
    layer = Past(start.shape)
    layer.build(x.shape)
    layer.set_weights([start])
    row = np.concatenate([start, *x])
    expected = [row[at * new : at * new + length + new] for at in range(samples)]
    np.testing.assert_array_equal(layer(x), expected)


def test_a_saved_model_keeps_its_past(tmp_path: Path) -> None:
    x = keras.Input((NEW, CHANNELS))
    model = keras.Model(x, Past((LENGTH, CHANNELS))(x))
    model.set_weights([values(LENGTH, CHANNELS)])
    save_model(model, tmp_path / "past.keras")
    given_samples = values(3, NEW, CHANNELS)
    made = load_model(tmp_path / "past.keras")(given_samples)
    np.testing.assert_array_equal(made, model(given_samples))
    assert model.output_shape == (None, LENGTH + NEW, CHANNELS)
