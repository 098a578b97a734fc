"""Small networks of the kinds that people prune, each built in a few lines.

Weights are random but seeded, and batch normalisation has statistics that are not the initial ones,
so that folding it is put to the test.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np

L = keras.layers


def mlp() -> Any:
    return keras.Sequential(
        [
            keras.Input((24,), name="features"),
            L.Dense(64, activation="relu", name="hidden_1"),
            L.Dense(48, activation="relu", name="hidden_2"),
            L.Dense(5, name="scores"),
        ],
        name="mlp",
    )


def cnn() -> Any:
    return keras.Sequential(
        [
            keras.Input((16, 16, 3), name="image"),
            L.Conv2D(32, 3, padding="same", use_bias=False, name="conv_1"),
            L.BatchNormalization(name="bn_1"),
            L.ReLU(name="relu_1"),
            L.MaxPooling2D(name="pool"),
            L.Conv2D(64, 3, padding="same", name="conv_2"),
            L.BatchNormalization(name="bn_2"),
            L.ReLU(name="relu_2"),
            L.Flatten(name="flatten"),
            L.Dense(10, name="scores"),
        ],
        name="cnn",
    )


def _separable(x: Any, channels: int, stride: int, name: str) -> Any:
    x = L.DepthwiseConv2D(3, stride, padding="same", use_bias=False, name=f"{name}_dw")(x)
    x = L.BatchNormalization(name=f"{name}_dw_bn")(x)
    x = L.ReLU(6.0, name=f"{name}_dw_relu")(x)
    x = L.Conv2D(channels, 1, use_bias=False, name=f"{name}_pw")(x)
    x = L.BatchNormalization(name=f"{name}_pw_bn")(x)
    return L.ReLU(6.0, name=f"{name}_pw_relu")(x)


def mobilenet_v1() -> Any:
    inputs = keras.Input((32, 32, 3), name="image")
    x = L.Conv2D(32, 3, 2, padding="same", use_bias=False, name="stem")(inputs)
    x = L.BatchNormalization(name="stem_bn")(x)
    x = L.ReLU(6.0, name="stem_relu")(x)
    x = _separable(x, 64, 1, "block_1")
    x = _separable(x, 64, 2, "block_2")
    x = L.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(inputs, L.Dense(10, name="scores")(x), name="mobilenet_v1")


def mobilenet_v2() -> Any:
    inputs = keras.Input((32, 32, 3), name="image")
    x = L.Conv2D(32, 3, 2, padding="same", use_bias=False, name="stem")(inputs)
    x = L.BatchNormalization(name="stem_bn")(x)
    x = L.ReLU(6.0, name="stem_relu")(x)
    for index in range(2):
        y = L.Conv2D(96, 1, use_bias=False, name=f"expand_{index}")(x)
        y = L.BatchNormalization(name=f"expand_{index}_bn")(y)
        y = L.ReLU(6.0, name=f"expand_{index}_relu")(y)
        y = L.DepthwiseConv2D(3, padding="same", use_bias=False, name=f"dw_{index}")(y)
        y = L.BatchNormalization(name=f"dw_{index}_bn")(y)
        y = L.ReLU(6.0, name=f"dw_{index}_relu")(y)
        y = L.Conv2D(32, 1, use_bias=False, name=f"project_{index}")(y)
        y = L.BatchNormalization(name=f"project_{index}_bn")(y)
        x = L.Add(name=f"add_{index}")([x, y])
    x = L.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(inputs, L.Dense(10, name="scores")(x), name="mobilenet_v2")


def residual() -> Any:
    inputs = keras.Input((16, 16, 8), name="image")
    x = L.Conv2D(32, 3, padding="same", name="conv_in")(inputs)
    y = L.ReLU(name="relu_1")(x)
    y = L.Conv2D(32, 3, padding="same", name="conv_1")(y)
    y = L.BatchNormalization(name="bn_1")(y)
    y = L.ReLU(name="relu_2")(y)
    y = L.Conv2D(32, 3, padding="same", name="conv_2")(y)
    x = L.Add(name="add")([x, y])
    x = L.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(inputs, L.Dense(4, activation="softmax", name="classes")(x), name="residual")


def nested() -> Any:
    inner_in = keras.Input((16, 16, 32), name="inner_image")
    y = L.Conv2D(64, 1, activation="relu", name="conv")(inner_in)
    y = L.DepthwiseConv2D(3, padding="same", name="dw")(y)
    inner = keras.Model(inner_in, y, name="backbone")
    inputs = keras.Input((16, 16, 3), name="image")
    x = L.Conv2D(32, 3, padding="same", activation="relu", name="stem")(inputs)
    x = inner(x)
    x = L.GlobalAveragePooling2D(name="pool")(x)
    head = keras.Sequential(
        [keras.Input((64,)), L.Dense(32, activation="relu", name="hidden"), L.Dense(3, name="out")],
        name="head",
    )
    return keras.Model(inputs, head(x), name="nested")


def conv1d() -> Any:
    return keras.Sequential(
        [
            keras.Input((64, 4), name="signal"),
            L.Conv1D(32, 5, padding="same", name="conv_1"),
            L.BatchNormalization(name="bn_1"),
            L.ReLU(name="relu_1"),
            L.Conv1D(48, 3, strides=2, name="conv_2"),
            L.ReLU(name="relu_2"),
            L.GlobalAveragePooling1D(name="pool"),
            L.Dense(6, name="scores"),
        ],
        name="conv1d",
    )


def every_kind() -> Any:
    """Separable, transposed, grouped and depthwise convolutions, two inputs and two outputs."""
    image = keras.Input((16, 16, 8), name="image")
    extra = keras.Input((12,), name="extra numbers")
    x = L.SeparableConv2D(32, 3, padding="same", activation="relu", name="separable")(image)
    x = L.Conv2D(32, 3, groups=4, padding="same", activation="relu", name="grouped")(x)
    x = L.DepthwiseConv2D(3, depth_multiplier=2, padding="same", name="depthwise")(x)
    x = L.Conv2DTranspose(24, 2, strides=2, activation="relu", name="transposed")(x)
    heat = L.Conv2D(1, 1, activation="sigmoid", name="heat")(x)
    pooled = L.GlobalAveragePooling2D(name="pool")(x)
    joined = L.Concatenate(name="join")([pooled, L.Dense(16, name="embed")(extra)])
    return keras.Model([image, extra], [L.Dense(4, name="scores")(joined), heat], name="every_kind")


ARCHITECTURES: dict[str, Callable[[], Any]] = {
    "mlp": mlp,
    "cnn": cnn,
    "mobilenet_v1": mobilenet_v1,
    "mobilenet_v2": mobilenet_v2,
    "residual": residual,
    "nested": nested,
    "conv1d": conv1d,
    "every_kind": every_kind,
}


def build(name: str) -> Any:
    """A network by name, with seeded weights and lived-in batch normalisation."""
    keras.utils.set_random_seed(7)
    model = ARCHITECTURES[name]()
    generator = np.random.default_rng(7)
    for variable in model.variables:
        if variable.path.endswith("moving_mean"):
            variable.assign(generator.normal(0, 0.2, variable.shape))
        elif variable.path.endswith("moving_variance") or variable.path.endswith("gamma"):
            variable.assign(generator.uniform(0.5, 1.5, variable.shape))
    return model


def samples(model: Any, count: int, seed: int = 0) -> list[Any]:
    """Random inputs `[count, ...]` for a model, one array per input."""
    generator = np.random.default_rng(seed)
    return [
        generator.uniform(-1, 1, (count, *tensor.shape[1:])).astype(np.float32)
        for tensor in model.inputs
    ]
