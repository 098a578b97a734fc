"""What a plan is told of a model's layers."""

from __future__ import annotations

import keras

from edgeprune.keras_model.layer_info import describe_layers
from edgeprune.keras_model.layers import map_layers
from tests.support.architectures import build

L = keras.layers


def test_the_layers_before_an_output_are_found_behind_layers_that_do_not_mix() -> None:
    inputs = keras.Input((8, 8, 4))
    x = L.Conv2D(32, 1, name="inner")(inputs)
    x = L.Conv2D(32, 1, name="last")(x)
    x = L.BatchNormalization(name="bn")(L.DepthwiseConv2D(3, name="dw")(x))
    side = L.Conv2D(32, 1, name="side")(inputs)
    model = keras.Model(inputs, [L.ReLU()(x), L.GlobalAveragePooling2D()(side)])
    feeding = {info.path for info in describe_layers(map_layers(model)) if info.feeds_output}
    assert feeding == {"last", "side"}


def test_only_the_last_layers_of_a_nested_head_feed_the_output() -> None:
    feeding = {
        info.path for info in describe_layers(map_layers(build("nested"))) if info.feeds_output
    }
    assert feeding == {"head/out"}


def test_a_nested_model_that_only_passes_on_is_looked_behind() -> None:
    body_in = keras.Input((8,))
    body = keras.Model(body_in, L.Dense(8, name="mix")(body_in), name="body")
    tail_in = keras.Input((8,))
    tail = keras.Model(tail_in, L.ReLU()(tail_in), name="tail")
    inputs = keras.Input((8,))
    model = keras.Model(inputs, tail(body(inputs)))
    feeding = {info.path for info in describe_layers(map_layers(model)) if info.feeds_output}
    assert feeding == {"body/mix"}


def test_pixels_are_those_of_the_largest_map_a_layer_makes() -> None:
    infos = {info.path: info for info in describe_layers(map_layers(build("mobilenet_v1")))}
    assert infos["stem"].pixels == 16 * 16
    assert infos["block_2_pw"].pixels == 8 * 8
    assert infos["scores"].pixels == 1


def test_a_pixel_that_goes_back_into_a_map_is_told_from_a_classifier() -> None:
    inputs = keras.Input((8, 8, 16))
    squeezed = L.GlobalAveragePooling2D(keepdims=True)(inputs)
    squeezed = L.Conv2D(4, 1, name="squeeze")(squeezed)
    excited = L.Conv2D(16, 1, activation="sigmoid", name="excite")(squeezed)
    x = L.GlobalAveragePooling2D(keepdims=True)(L.Multiply()([inputs, excited]))
    model = keras.Model(inputs, L.Conv2D(5, 1, name="classes")(x))
    described = describe_layers(map_layers(model))
    feeding = {info.path for info in described if info.feeds_map and info.kind == "Conv2D"}
    assert feeding == {"squeeze", "excite"}
