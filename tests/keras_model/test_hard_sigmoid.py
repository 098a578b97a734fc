from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest

from edgeprune.core.errors import ModelError
from edgeprune.keras_model.hard_sigmoid import as_in_keras2

L = keras.layers


def of_keras2(x: Any) -> Any:
    """Keras 2's documentation: 0 below -2.5, 1 above 2.5, 0.2 x + 0.5 between."""
    return keras.ops.clip(0.2 * x + 0.5, 0, 1)


keras.saving.register_keras_serializable("tests")(of_keras2)
HARD = "hard_sigmoid"
LAYERS: dict[str, tuple[tuple[int, ...], Callable[[Any], Any]]] = {
    "dense": ((4,), lambda f: L.Dense(3, activation=f)),
    "convolution": ((5, 5, 2), lambda f: L.Conv2D(3, 3, activation=f)),
    "depthwise": ((5, 5, 2), lambda f: L.DepthwiseConv2D(3, activation=f)),
    "separable": ((5, 5, 2), lambda f: L.SeparableConv2D(3, 3, activation=f)),
    "transposed": ((5, 5, 2), lambda f: L.Conv2DTranspose(3, 3, activation=f, use_bias=False)),
    "lstm": ((6, 4), lambda f: L.LSTM(3, recurrent_activation=f)),
    "gru": ((6, 4), lambda f: L.GRU(3, recurrent_activation=f)),
    "older gru": ((6, 4), lambda f: L.GRU(3, recurrent_activation=f, reset_after=False)),
    "simple": ((6, 4), lambda f: L.SimpleRNN(3, activation=f)),
    "convolutional lstm": ((3, 5, 5, 2), lambda f: L.ConvLSTM2D(3, 3, recurrent_activation=f)),
    "bidirectional": ((6, 4), lambda f: L.Bidirectional(L.LSTM(3, recurrent_activation=f))),
    "cell": ((6, 4), lambda f: L.RNN([L.GRUCell(3, recurrent_activation=f), L.LSTMCell(2)])),
    "activation": ((5, 5, 2), L.Activation),
    "nested": ((4,), lambda f: keras.Sequential([keras.Input((4,)), L.Activation(f)])),
}


def chain(shape: tuple[int, ...], layer: Any, name: str) -> Any:
    """Weights wide enough that the hard sigmoid is reached at its flat ends too."""
    model = keras.Sequential([keras.Input(shape), layer], name=name)
    rng = np.random.default_rng(1)
    model.set_weights([rng.normal(0, 1, weight.shape) for weight in model.get_weights()])
    return model


@pytest.mark.parametrize("kind", LAYERS)
def test_a_layer_with_a_hard_sigmoid_computes_as_in_keras_2(kind: str) -> None:
    shape, make = LAYERS[kind]
    right, loaded = chain(shape, make(of_keras2), "m"), chain(shape, make(HARD), "m")
    x = np.random.default_rng(0).normal(0, 2, (4, *shape)).astype("float32")
    wrong = np.abs(np.asarray(loaded(x)) - np.asarray(right(x))).max()
    made = as_in_keras2(loaded)
    np.testing.assert_allclose(made(x), right(x), atol=2e-5)
    assert wrong > 0.01


def test_layers_and_their_names_stay_but_for_activations() -> None:
    layers = [L.Dense(3, name="a"), L.Activation(HARD, name="b"), L.Dense(2, name="c")]
    model = keras.Sequential([keras.Input((4,)), *layers])
    model.compile("sgd", "mse")
    made = as_in_keras2(model)
    assert [layer.name for layer in made.layers] == ["a", "b", "c"]
    assert [type(layer).__name__ for layer in made.layers[1].layers] == ["Rescaling", "ReLU"]
    assert made.loss == "mse"


def test_a_model_without_a_hard_sigmoid_is_left_as_it_is() -> None:
    model = keras.Sequential([keras.Input((4,)), L.Dense(2, activation="sigmoid"), L.Softmax()])
    weights = model.get_weights()
    assert as_in_keras2(model) is model
    for before, after in zip(weights, model.get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)


def test_a_place_where_it_cannot_be_replaced_is_refused() -> None:
    model = keras.Sequential([keras.Input((6, 4)), L.LSTM(2, activation=HARD, name="memory")])
    with pytest.raises(ModelError, match="a LSTMCell|an LSTMCell"):
        as_in_keras2(model)
