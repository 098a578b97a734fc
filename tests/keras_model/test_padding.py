from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeprune.core.errors import ModelError
from edgeprune.core.plan import PaddingPlan
from edgeprune.keras_model.layers import map_layers
from edgeprune.keras_model.padding import find_asymmetric, make_symmetric
from edgeprune.planning.plan_model import plan
from tests.support.architectures import build, samples

L = keras.layers


def outputs(model: Any, x: list[Any]) -> Any:
    return np.asarray(model(x[0], training=False))


@given(size=st.integers(6, 19), kernel=st.sampled_from([3, 5]), depthwise=st.booleans())
@settings(max_examples=25, deadline=None)
def test_a_same_convolution_looks_at_what_symmetric_padding_shows_it(
    size: int, kernel: int, depthwise: bool
) -> None:
    """Against the plain convolution on an input that NumPy padded."""
    make = (
        L.DepthwiseConv2D(kernel, 2, padding="same", name="conv")
        if depthwise
        else L.Conv2D(4, kernel, 2, padding="same", name="conv")
    )
    model = keras.Sequential([keras.Input((size, size, 3), name="x"), make])
    rows = find_asymmetric(map_layers(model))
    assert bool(rows) == (size % 2 == 0)
    if not rows:
        return
    changed = make_symmetric(model, rows)
    assert changed.output_shape == model.output_shape
    assert find_asymmetric(map_layers(changed)) == ()
    x = np.random.default_rng(0).normal(size=(2, size, size, 3)).astype(np.float32)
    half = kernel // 2
    padded = np.pad(x, ((0, 0), (half, half), (half, half), (0, 0)))
    plain = type(make).from_config({**make.get_config(), "padding": "valid"})
    plain.build(padded.shape)
    plain.set_weights(make.get_weights())
    np.testing.assert_allclose(outputs(changed, [x]), plain(padded), rtol=1e-4, atol=1e-5)


def test_the_padding_of_keras_applications_is_found() -> None:
    inputs = keras.Input((16, 16, 3))  # Keras names it, and would name a copy's input otherwise
    x = L.ZeroPadding2D(((0, 1), (0, 1)), name="pad")(inputs)
    x = L.DepthwiseConv2D(3, 2, padding="valid", name="dw")(x)
    x = L.ZeroPadding2D(((1, 2), (1, 2)), name="pad_5")(x)
    x = L.DepthwiseConv2D(5, 2, padding="valid", name="dw_5")(x)
    model = keras.Model(inputs, x)
    rows = find_asymmetric(map_layers(model))
    assert [(row.path, row.before, row.after) for row in rows] == [
        ("pad", "((0,1),(0,1))", "((1,1),(1,1))"),
        ("pad_5", "((1,2),(1,2))", "((2,2),(2,2))"),
    ]
    changed = make_symmetric(model, rows)
    assert [layer.name for layer in changed.layers] == [layer.name for layer in model.layers]
    assert changed.output_shape == model.output_shape


@pytest.mark.parametrize(
    "layer",
    [
        L.Conv2D(4, 3, 1, padding="same"),
        L.Conv2D(4, 3, 2, padding="valid"),
        L.Conv2D(4, 1, 2, padding="same"),
        L.Conv2D(4, 3, padding="same", dilation_rate=2),
        L.ZeroPadding2D(1),
        L.MaxPooling2D(2, padding="same"),
    ],
)
def test_what_is_symmetric_or_needs_no_padding_is_left_alone(layer: Any) -> None:
    layer = type(layer).from_config(layer.get_config())
    assert find_asymmetric(map_layers(keras.Sequential([keras.Input((8, 8, 3)), layer]))) == ()


def test_a_padding_that_something_else_reads_too_is_left_alone() -> None:
    inputs = keras.Input((8, 8, 3))
    x = L.ZeroPadding2D(((0, 1), (0, 1)), name="pad")(inputs)
    model = keras.Model(inputs, [L.Conv2D(4, 3, 2)(x), L.ReLU()(x)])
    assert find_asymmetric(map_layers(model)) == ()


def test_an_open_size_is_left_alone() -> None:
    inputs = keras.Input((None, None, 3))
    assert (
        find_asymmetric(map_layers(keras.Model(inputs, L.Conv2D(4, 3, 2, padding="same")(inputs))))
        == ()
    )


def test_weights_names_and_compilation_are_carried_over() -> None:
    model = build("mobilenet_v1")
    model.compile("sgd", "mse")
    changed = make_symmetric(model, find_asymmetric(map_layers(model)))
    names = [layer.name for layer in changed.layers]
    assert [name for name in names if not name.endswith("_symmetric_pad")] == [
        layer.name for layer in model.layers
    ]
    assert {name for name in names if name.endswith("_symmetric_pad")} == {
        "stem_symmetric_pad",
        "block_2_dw_symmetric_pad",
    }
    for a, b in zip(model.get_weights(), changed.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert changed.loss == "mse"
    x = samples(model, 2)
    assert outputs(changed, x).shape == outputs(model, x).shape


def test_layers_inside_nested_models_are_changed_too() -> None:
    inner_in = keras.Input((16, 16, 3))
    inner = keras.Model(
        inner_in, L.Conv2D(4, 3, 2, padding="same", name="conv")(inner_in), name="inner"
    )
    head = keras.Sequential(
        [keras.Input((8, 8, 4)), L.DepthwiseConv2D(3, 2, padding="same", name="dw")], name="head"
    )
    inputs = keras.Input((16, 16, 3))
    model = keras.Model(inputs, head(inner(inputs)))
    rows = find_asymmetric(map_layers(model))
    assert [row.path for row in rows] == ["inner/conv", "head/dw"]
    changed = make_symmetric(model, rows)
    assert find_asymmetric(map_layers(changed)) == ()
    assert changed.output_shape == model.output_shape


def test_a_row_that_does_not_fit_is_refused() -> None:
    row = PaddingPlan(path="conv_1", before="same", after="((1,1),(1,1))")
    with pytest.raises(ModelError, match="conv_1: expected a layer whose padding"):
        make_symmetric(build("cnn"), [row])


@pytest.mark.slow
def test_the_plan_shows_it_where_the_device_wants_it() -> None:
    model = build("mobilenet_v1")
    assert plan(model, "xnnpack-arm64").padding == ()
    symmetric = plan(model, "xnnpack-arm64", padding="symmetric")
    assert len(symmetric.padding) == 2
    assert plan(model, "edge-tpu", padding="symmetric").padding == ()
    assert symmetric.to_json()["padding"][0]["path"] == "stem"
