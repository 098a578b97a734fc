from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest

from edgeprune.core.errors import ModelError
from edgeprune.keras_model.converter_copy import find_loops, for_converter, require_stateless
from edgeprune.keras_model.layers import layers_inside, map_layers

L = keras.layers


def functional(*layers: Any, shape: tuple[int, ...] = (6, 4), name: str = "m") -> Any:
    inputs = keras.Input(shape, name="x")
    outputs = inputs
    for layer in layers:
        outputs = layer(outputs)
    return keras.Model(inputs, outputs, name=name)


RECURRENT: dict[str, Callable[[], tuple[Any, ...]]] = {
    "LSTM": lambda: (L.LSTM(3),),
    "GRU": lambda: (L.GRU(3, return_sequences=True),),
    "SimpleRNN": lambda: (L.SimpleRNN(3),),
    "cell": lambda: (L.RNN(L.LSTMCell(3)),),
    "stacked cells": lambda: (L.RNN([L.GRUCell(3), L.GRUCell(2)]),),
    "bidirectional": lambda: (L.Bidirectional(L.LSTM(3)),),
    "masked": lambda: (L.Masking(), L.LSTM(3)),
    "nested": lambda: (keras.Sequential([keras.Input((6, 4)), L.LSTM(3)]),),
    "distributed": lambda: (L.Reshape((3, 2, 4)), L.TimeDistributed(L.LSTM(3))),
    "convolutional": lambda: (L.Reshape((3, 4, 2, 1)), L.ConvLSTM2D(2, 2)),
}


@pytest.mark.parametrize("kind", RECURRENT)
def test_every_recurrent_layer_is_unrolled_on_a_copy_that_computes_the_same(kind: str) -> None:
    model = functional(*RECURRENT[kind]())
    copy = for_converter(model, unroll=True)
    assert len(find_loops(map_layers(model))) == 1
    assert find_loops(map_layers(copy)) == ()
    x = np.random.default_rng(0).normal(size=(2, 6, 4)).astype("float32")
    np.testing.assert_allclose(copy(x), model(x), atol=1e-6)


@pytest.mark.parametrize(
    ("layers", "steps"),
    [((L.LSTM(2),), 6), ((L.Reshape((3, 2, 4)), L.TimeDistributed(L.GRU(2))), 6)]
    + [((L.AveragePooling1D(2), L.Bidirectional(L.GRU(2))), 3)],
)
def test_the_steps_of_a_loop_are_those_of_one_sample(layers: Any, steps: int) -> None:
    assert [loop.steps for loop in find_loops(map_layers(functional(*layers)))] == [steps]


def test_a_layer_of_too_many_steps_is_refused_with_both_numbers() -> None:
    model = functional(L.LSTM(2, name="memory"), shape=(600, 1))
    with pytest.raises(ModelError, match=r"memory: .* up to 512 steps .* Received: 600 steps"):
        for_converter(model, unroll=True)


def test_a_model_that_needs_no_change_is_not_copied() -> None:
    model = functional(L.Dense(3), L.LSTM(2))
    assert for_converter(model, unroll=False) is model


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16", "float16"])
def test_layers_of_lower_precision_compute_in_float32_on_the_copy(policy: str) -> None:
    convolve = L.Conv2D(4, 3, dtype=policy)
    inner = keras.Sequential([keras.Input((4, 4, 4)), L.Conv2D(3, 1, dtype=policy)])
    model = functional(convolve, inner, L.Softmax(dtype="float32"), shape=(6, 6, 2))
    copy = for_converter(model, unroll=False)
    assert {layer.compute_dtype for layer in layers_inside(copy)} == {"float32"}
    assert convolve.compute_dtype != "float32"
    x = np.random.default_rng(0).normal(size=(2, 6, 6, 2)).astype("float32")
    exact = keras.ops.softmax(
        keras.ops.conv(
            keras.ops.conv(x, keras.ops.cast(convolve.kernel, "float32")),
            keras.ops.cast(inner.layers[0].kernel, "float32"),
        )
    )
    np.testing.assert_allclose(copy(x), exact, atol=1e-5)


def test_names_that_tensorflow_refuses_are_replaced_on_the_copy_and_stay_unique() -> None:
    model = functional(
        *(L.Dense(3, name=name) for name in ("a b", "a$b", "a_b", "_c", "é", "fine.1-x")),
        name="my model",
    )
    copy = for_converter(model, unroll=False)
    assert [layer.name for layer in copy.layers[1:]] == [
        *("a_b_2", "a_b_3", "a_b", "layer_c", "layer_", "fine.1-x")
    ]
    assert copy.name == "my_model"
    assert [layer.name for layer in model.layers[1:3]] == ["a b", "a$b"]
    names = [variable.value.name for variable in copy.variables]
    assert {name.partition(":")[0] for name in names} == {"kernel", "bias"}
    for mine, other in zip(model.get_weights(), copy.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, other)


@pytest.mark.parametrize(
    "layer",
    [
        lambda: L.LSTM(2, stateful=True, name="memory"),
        lambda: L.Bidirectional(L.GRU(2, stateful=True), name="memory"),
    ],
)
def test_a_stateful_layer_is_refused_with_the_way_out(layer: Any) -> None:
    inputs = keras.Input(batch_shape=(1, 6, 4))
    model = keras.Model(inputs, layer()(inputs))
    with pytest.raises(ModelError, match=r"memory: .*stateful=True.*initial_state="):
        require_stateless(map_layers(model))
