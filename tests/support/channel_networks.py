"""One small network for every kind of layer that channels are followed through."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras

from edgeprune.conversion.lift import layers as lifted

L = keras.layers


def _image(channels: int = 8) -> Any:
    return keras.Input((8, 8, channels), name="image")


def _chain(*middle: Any, first: Any = None, last: Any = None) -> Callable[[], Any]:
    """A convolution, what is to be tried, and a convolution that reads it."""

    def make() -> Any:
        image = _image()
        x = (first or L.Conv2D)(16, 3, padding="same", name="first")(image)
        for layer in middle:
            x = layer()(x)
        return keras.Model(image, (last or L.Conv2D)(4, 1, name="last")(x))

    return make


def _branches(join: Callable[[Any, Any], Any]) -> Callable[[], Any]:
    def make() -> Any:
        image = _image()
        one = L.Conv2D(16, 1, activation="relu", name="one")(image)
        other = L.Conv2D(16, 3, padding="same", name="other")(image)
        return keras.Model(image, L.Conv2D(4, 1, name="last")(join(one, other)))

    return make


def _squeeze_excite(one: Any, other: Any) -> Any:
    gate = L.GlobalAveragePooling2D()(other)
    gate = L.Reshape((1, 1, 16))(gate)
    gate = L.Conv2D(8, 1, activation="relu", name="squeeze")(gate)
    gate = L.Conv2D(16, 1, activation="sigmoid", name="excite")(gate)
    return L.Multiply()([one, gate])


def _flat() -> Any:
    image = _image()
    x = L.MaxPooling2D(4)(L.Conv2D(16, 3, padding="same", name="first")(image))
    return keras.Model(image, L.Dense(4, name="last")(L.Flatten()(x)))


def _signal(*middle: Callable[[], Any]) -> Callable[[], Any]:
    def make() -> Any:
        signal = keras.Input((16, 8))
        x = L.Conv1D(16, 3, padding="same", name="first")(signal)
        for layer in middle:
            x = layer()(x)
        return keras.Model(signal, L.Dense(4, name="last")(x))

    return make


def _shared() -> Any:
    image = _image(16)
    conv = L.Conv2D(16, 3, padding="same", activation="relu", name="shared")
    x = L.Conv2D(16, 1, name="first")(image)
    return keras.Model(image, L.Conv2D(4, 1, name="last")(conv(conv(x))))


def _nested() -> Any:
    inside = keras.Input((8, 8, 16))
    body = keras.Model(inside, L.Conv2D(24, 1, name="mix")(L.ReLU()(inside)), name="body")
    image = _image()
    x = body(L.Conv2D(16, 1, name="first")(image))
    head = keras.Sequential([keras.Input((8, 8, 24)), L.Conv2D(4, 1, name="last")], name="head")
    return keras.Model(image, head(x))


def _two_ends() -> Any:
    image, numbers = _image(), keras.Input((6,), name="numbers")
    x = L.GlobalAveragePooling2D()(L.Conv2D(16, 1, name="first")(image))
    y = L.Dense(16, activation="relu", name="embed")(numbers)
    both = L.Concatenate()([x, y])
    return keras.Model([image, numbers], [L.Dense(3, name="a")(both), L.Dense(2, name="b")(y)])


def _functions(one: Any, other: Any) -> Any:
    ops = keras.ops
    total = ops.relu(one) * 0.5 + ops.sigmoid(other) * one
    return ops.mean(total, axis=(1, 2), keepdims=True)


def _shuffle() -> Any:
    """Groups of channels change places, as in ShuffleNet."""
    image = _image()
    x = L.Conv2D(16, 1, name="first")(image)
    x = L.Reshape((64, 4, 4))(x)
    x = L.Permute((1, 3, 2))(x)
    x = L.Reshape((8, 8, 16))(x)
    return keras.Model(image, L.Conv2D(4, 1, name="last")(x))


def _shuffle_net() -> Any:
    """ShuffleNet's unit: half of the channels pass by, then all change places."""
    ops = keras.ops
    image = _image()
    x = L.Conv2D(32, 1, name="first")(image)
    for index in range(2):
        kept, worked = ops.split(x, 2, axis=-1)
        worked = L.Conv2D(16, 1, name=f"in_{index}")(worked)
        worked = L.DepthwiseConv2D(3, padding="same", name=f"depth_{index}")(worked)
        worked = L.Conv2D(16, 1, name=f"out_{index}")(worked)
        x = L.Concatenate()([kept, worked])
        x = ops.reshape(x, (-1, 8, 8, 2, 16))
        x = ops.reshape(ops.transpose(x, (0, 1, 2, 4, 3)), (-1, 8, 8, 32))
    return keras.Model(image, L.Conv2D(4, 1, name="last")(x))


def _blaze_face() -> Any:
    """BlazeFace's residual: what is narrower gets zeros for the channels that it lacks."""
    image = _image()
    x = L.Conv2D(24, 1, name="first")(image)
    y = L.DepthwiseConv2D(3, 2, padding="same", name="depth")(x)
    y = L.Conv2D(28, 1, name="wide")(y)
    padded = keras.ops.pad(L.MaxPooling2D()(x), [[0, 0], [0, 0], [0, 0], [0, 4]])
    x = L.ReLU()(L.Add()([y, padded]))
    return keras.Model(image, L.Conv2D(4, 1, name="last")(x))


def _joined(take: Callable[[Any], list[Any]]) -> Callable[[], Any]:
    """A convolution, parts of what it makes, and a convolution that reads them all."""

    def make() -> Any:
        image = _image()
        x = L.Conv2D(16, 3, padding="same", name="first")(image)
        parts = take(x)
        read = [L.Conv2D(4, 1, name=f"last_{index}")(part) for index, part in enumerate(parts)]
        return keras.Model(image, read)

    return make


def _attention() -> Any:
    """Attention of four heads by operations, as in a lifted file; values may lose channels."""
    rows = keras.Input((12, 8))

    def heads(name: str) -> Any:
        split = L.Reshape((12, 4, 8))(L.Dense(32, name=name)(rows))
        return keras.ops.transpose(split, (0, 2, 1, 3))

    keys = keras.ops.transpose(heads("keys"), (0, 1, 3, 2))
    weights = L.Softmax()(keras.ops.matmul(heads("queries"), keys))
    made = keras.ops.transpose(keras.ops.matmul(weights, heads("values")), (0, 2, 1, 3))
    return keras.Model(rows, L.Dense(4, name="last")(L.Reshape((12, 32))(made)))


def _with_constants() -> Any:
    """What a .tflite file holds beside kernels: numbers per channel, channels of constants."""
    image = _image()
    x = L.Conv2D(16, 1, name="first")(image)
    x = lifted.ConstantOperand("multiply", (16,), name="scale")(x)
    x = lifted.ConstantOperand("subtract", (1, 8, 16), left=True, name="shift")(x)
    x = lifted.ConstantOperand("add", (8, 8, 1), name="place")(x)
    x = lifted.Saturate(-2.0, 3.0)(x)
    x = lifted.ChannelPad(2, 3, 0.5, name="pad")(x)
    x = lifted.LegacyResize((5, 11), "bilinear", align_corners=True)(x)
    held = lifted.HeldConstant((5, 11, 4), name="held")(x)
    x = L.Concatenate()([held, x])
    return keras.Model(image, L.Conv2D(4, 1, name="last")(x))


def _mixer() -> Any:
    """A Dense along positions lets channels pass by."""
    tokens = keras.Input((10, 8))
    x = L.Dense(16, name="first")(tokens)
    y = L.Permute((2, 1))(L.Dense(10, name="over_tokens")(L.Permute((2, 1))(x)))
    return keras.Model(tokens, L.Dense(4, name="last")(L.Add()([x, y])))


def _words() -> Any:
    words = keras.Input((6,), dtype="int32")
    x = L.Embedding(20, 16, name="table")(words)
    x = L.Conv1D(16, 1, name="first")(x)
    return keras.Model(words, L.Dense(4, name="last")(L.GlobalMaxPooling1D()(x)))


NETWORKS: dict[str, Callable[[], Any]] = {
    "Conv2D": _chain(),
    "strided": _chain(lambda: L.Conv2D(24, 3, 2, name="second", use_bias=False)),
    "grouped, narrow": _chain(lambda: L.Conv2D(32, 3, groups=8, name="second")),
    "grouped, wide": _chain(lambda: L.Conv2D(32, 3, groups=2, name="second")),
    "depthwise": _chain(lambda: L.DepthwiseConv2D(3, name="second")),
    "depthwise, multiplier": _chain(lambda: L.DepthwiseConv2D(3, depth_multiplier=2)),
    "transposed": _chain(first=L.Conv2DTranspose, last=L.Conv2DTranspose),
    "separable": _chain(first=L.SeparableConv2D, last=L.SeparableConv2D),
    "Conv1D": _signal(),
    "depthwise 1-D": _signal(lambda: L.DepthwiseConv1D(3), lambda: L.SeparableConv1D(8, 3)),
    "transposed 1-D": _signal(lambda: L.Conv1DTranspose(12, 2, 2)),
    "batch normalisation": _chain(L.BatchNormalization, L.ReLU),
    "group normalisation": _chain(lambda: L.GroupNormalization(4)),
    "instance normalisation": _chain(lambda: L.GroupNormalization(-1)),
    "PReLU": _chain(L.PReLU),
    "PReLU, shared": _chain(lambda: L.PReLU(shared_axes=[1, 2])),
    "activations": _chain(L.LeakyReLU, lambda: L.Activation("gelu"), lambda: L.Dropout(0.5)),
    "Rescaling": _chain(lambda: L.Rescaling(0.5, 1.0)),
    "pooling": _chain(lambda: L.MaxPooling2D(2), lambda: L.AveragePooling2D(2)),
    "global pooling": _chain(lambda: L.GlobalMaxPooling2D(keepdims=True)),
    "padding": _chain(lambda: L.ZeroPadding2D(1), lambda: L.Cropping2D(2)),
    "upsampling": _chain(lambda: L.UpSampling2D(2, interpolation="bilinear")),
    "add": _branches(lambda a, b: L.Add()([a, b])),
    "subtract": _branches(lambda a, b: L.Subtract()([a, b])),
    "maximum and average": _branches(lambda a, b: L.Average()([L.Maximum()([a, b]), a])),
    "concatenate": _branches(lambda a, b: L.Concatenate()([a, b])),
    "concatenate positions": _branches(lambda a, b: L.Concatenate(axis=1)([a, b])),
    "squeeze and excite": _branches(_squeeze_excite),
    "functions": _branches(_functions),
    "flatten": _flat,
    "repeat": lambda: keras.Sequential(
        [keras.Input((6,)), L.Dense(16, name="first"), L.RepeatVector(3), L.Dense(4)]
    ),
    "shuffle": _shuffle,
    "ShuffleNet": _shuffle_net,
    "BlazeFace": _blaze_face,
    "constants of a file": _with_constants,
    "split": _joined(lambda x: keras.ops.split(x, 4, axis=-1)),
    "split, unequal": _joined(lambda x: keras.ops.split(x, [4, 10], axis=3)),
    "split positions": _joined(lambda x: keras.ops.split(x, 2, axis=1)),
    "slices": _joined(lambda x: [x[..., :6], x[:, 1:7, :, 3:-2], x[..., -3:], x[:, :, 2:]]),
    "slices of positions": _joined(lambda x: [x[:, ::2, 3:], x[:, 1, None, :, 2:]]),
    "slices at a step": _joined(lambda x: [x[..., ::2], x[..., 1::2], x[..., 3::4]]),
    "slice operation": _joined(
        lambda x: [keras.ops.slice(x, (0, 1, 0, 3), (2, 4, 8, 9)), x[..., 5:]]
    ),
    "flip": _joined(lambda x: [keras.ops.flip(x, axis=(1, -1)), x]),
    "take positions": _joined(lambda x: [keras.ops.take(x, [3, 1], axis=1), x]),
    "stack": _joined(
        lambda x: keras.ops.unstack(keras.ops.stack([x, L.ReLU()(x)], axis=1), axis=1)
    ),
    "rounded": _joined(
        lambda x: [
            x + keras.ops.stop_gradient(keras.ops.round(x * 8) / 8 - x),
            keras.ops.where(x > 0.1, keras.ops.floor(x), keras.ops.arctan2(x, keras.ops.cos(x))),
        ]
    ),
    "tile": _joined(lambda x: [keras.ops.tile(x, (1, 2, 1, 3))]),
    "pad": _joined(lambda x: [keras.ops.pad(x, ((0, 0), (1, 2), (0, 0), (3, 2)))]),
    "mirror positions": _joined(
        lambda x: [keras.ops.pad(x, ((0, 0), (1, 2), (2, 1), (0, 0)), mode="reflect")]
    ),
    "new and dropped axes": _joined(
        lambda x: [keras.ops.squeeze(keras.ops.expand_dims(x, 1), axis=1), x]
    ),
    "depth to space": _joined(lambda x: [keras.ops.depth_to_space(x, 2)]),
    "space to depth": _joined(lambda x: [keras.ops.space_to_depth(x, 2)]),
    "rows as samples": _chain(
        lambda: lambda x: keras.ops.reshape(x, (-1, 16)),
        lambda: L.Dense(24, activation="relu", name="rows"),
        lambda: lambda x: keras.ops.reshape(x, (-1, 8, 8, 24)),
    ),
    "attention": _attention,
    "mixer": _mixer,
    "shared": _shared,
    "nested": _nested,
    "two ends": _two_ends,
    "words": _words,
}
"""By what they try."""


def unet() -> Any:
    """A small U-Net."""
    image = keras.Input((32, 32, 3))
    x, skips = image, []
    for width in (16, 32):
        x = L.Conv2D(width, 3, padding="same", activation="relu", name=f"down_{width}")(x)
        skips.append(x)
        x = L.MaxPooling2D()(x)
    x = L.Conv2D(64, 3, padding="same", activation="relu", name="bottom")(x)
    for width in (32, 16):
        x = L.Conv2DTranspose(width, 2, 2, name=f"up_{width}")(x)
        x = L.Concatenate()([x, skips.pop()])
        x = L.Conv2D(width, 3, padding="same", activation="relu", name=f"join_{width}")(x)
    return keras.Model(image, L.Conv2D(2, 1, activation="softmax", name="mask")(x), name="unet")


def transformer() -> Any:
    """A small transformer encoder."""
    tokens = keras.Input((16, 24))
    x = L.Dense(32, name="embed")(tokens)
    for index in range(2):
        y = L.LayerNormalization(name=f"norm_{index}")(x)
        y = L.MultiHeadAttention(2, 16, name=f"attention_{index}")(y, y)
        x = L.Add()([x, y])
        y = L.LayerNormalization(name=f"norm_ff_{index}")(x)
        y = L.Dense(64, activation="gelu", name=f"wide_{index}")(y)
        x = L.Add()([x, L.Dense(32, name=f"narrow_{index}")(y)])
    x = L.GlobalAveragePooling1D()(L.LayerNormalization(name="norm")(x))
    return keras.Model(tokens, L.Dense(5, name="classes")(x), name="transformer")
