"""Random small Keras graphs, the same again for a seed."""

from __future__ import annotations

import random
from typing import Any

import keras
from keras import layers

ACTIVATIONS = ("relu", "relu6", "sigmoid", "tanh", "hard_swish", "elu", "leaky_relu")


def random_graph(seed: int) -> Any:
    """A model of two to seven random blocks on maps of 8 to 24, with one or two outputs."""
    rng = random.Random(seed)  # noqa: S311
    keras.utils.set_random_seed(seed)
    side = rng.choice((8, 12, 15, 16, 24))
    entry = keras.Input((side, side, rng.choice((1, 3, 4, 16))), name="image")
    x = layers.Conv2D(rng.choice((8, 16, 24)), 3, strides=rng.choice((1, 2)), padding="same")(entry)
    for _ in range(rng.randint(2, 7)):
        x = rng.choice(BLOCKS)(x, rng)
    outputs = [_head(x, rng) for _ in range(rng.choice((1, 1, 1, 2)))]
    model = keras.Model(entry, outputs)
    _disturb_statistics(model, seed)
    return model


def _disturb_statistics(model: Any, seed: int) -> None:
    """Gives batch normalization statistics that do something."""
    numbers = keras.random.SeedGenerator(seed)
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            shape = layer.gamma.shape
            layer.gamma.assign(keras.random.uniform(shape, 0.5, 1.5, seed=numbers))
            layer.beta.assign(keras.random.uniform(shape, -0.5, 0.5, seed=numbers))
            layer.moving_mean.assign(keras.random.uniform(shape, -0.5, 0.5, seed=numbers))
            layer.moving_variance.assign(keras.random.uniform(shape, 0.3, 1.5, seed=numbers))


def _activated(x: Any, rng: random.Random) -> Any:
    if rng.random() < 0.4:
        x = layers.BatchNormalization()(x)
    name = rng.choice((None, "relu", *ACTIVATIONS))
    return layers.Activation(name)(x) if name else x


def _conv(x: Any, rng: random.Random) -> Any:
    kernel, width = rng.choice((1, 1, 3, (1, 3), 5)), rng.choice((8, 12, 16, 32))
    stride = rng.choice((1, 1, 2))
    bias = rng.random() < 0.7
    return _activated(layers.Conv2D(width, kernel, stride, padding="same", use_bias=bias)(x), rng)


def _valid_conv(x: Any, rng: random.Random) -> Any:
    if x.shape[1] < 4:
        return x
    return _activated(layers.Conv2D(rng.choice((8, 16)), 3, padding="valid")(x), rng)


def _dilated(x: Any, rng: random.Random) -> Any:
    return _activated(layers.Conv2D(16, 3, dilation_rate=2, padding="same")(x), rng)


def _grouped(x: Any, rng: random.Random) -> Any:
    return _activated(layers.Conv2D(16, 3, padding="same", groups=4)(_to_width(x, 16)), rng)


def _depthwise(x: Any, rng: random.Random) -> Any:
    stride, more = rng.choice((1, 2)), rng.choice((1, 1, 2))
    x = layers.DepthwiseConv2D(3, stride, padding="same", depth_multiplier=more)(x)
    return _activated(x, rng)


def _separable(x: Any, rng: random.Random) -> Any:
    return _activated(layers.SeparableConv2D(rng.choice((16, 24)), 3, padding="same")(x), rng)


def _to_width(x: Any, width: int) -> Any:
    return layers.Conv2D(width, 1)(x)


def _residual(x: Any, rng: random.Random) -> Any:
    width = x.shape[-1]
    y = _activated(layers.Conv2D(width, 3, padding="same")(x), rng)
    if rng.random() < 0.5:
        y = _activated(_to_width(y, width), rng)
    return layers.Add()([x, y])


def _branches(x: Any, rng: random.Random) -> Any:
    parts = [_activated(_to_width(x, rng.choice((4, 8, 16))), rng) for _ in range(2)]
    return layers.Concatenate()(parts + ([x] if rng.random() < 0.5 else []))


def _excited(x: Any, rng: random.Random) -> Any:
    width = x.shape[-1]
    y = layers.GlobalAveragePooling2D(keepdims=True)(x)
    y = layers.Conv2D(max(4, width // 4), 1, activation="relu")(y)
    y = layers.Conv2D(width, 1, activation=rng.choice(("sigmoid", "hard_sigmoid")))(y)
    return layers.Multiply()([x, y])


def _pooled(x: Any, rng: random.Random) -> Any:
    if x.shape[1] < 4:
        return x
    pool = rng.choice((layers.MaxPooling2D, layers.AveragePooling2D))
    return pool(2, padding=rng.choice(("valid", "same")))(x)


def _upsampled(x: Any, rng: random.Random) -> Any:
    if x.shape[1] > 12:
        return x
    return layers.UpSampling2D(2, interpolation=rng.choice(("nearest", "bilinear")))(x)


def _padded(x: Any, rng: random.Random) -> Any:
    x = layers.ZeroPadding2D(((0, 1), (1, 0)))(x)
    return layers.Conv2D(16, 3, strides=rng.choice((1, 2)))(x) if x.shape[1] > 3 else x


BLOCKS = (
    _conv,
    _conv,
    _valid_conv,
    _dilated,
    _grouped,
    _depthwise,
    _separable,
    _residual,
    _branches,
    _excited,
    _pooled,
    _upsampled,
    _padded,
)


def _head(x: Any, rng: random.Random) -> Any:
    kinds = (layers.GlobalAveragePooling2D, layers.GlobalMaxPooling2D, layers.Flatten)
    x = rng.choice(kinds)()(x)
    if rng.random() < 0.5:
        x = layers.Dense(rng.choice((16, 32, 64)), activation=rng.choice(("relu", "tanh")))(x)
    return layers.Dense(rng.choice((2, 10, 16)), activation=rng.choice((None, "softmax")))(x)
