"""A layer's inputs as the columns that its device matrix is multiplied with (im2col).

For every output position a layer computes `matrix @ column + bias`; `columns` gives those columns,
and `linear_output` the result, before the layer's activation function.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from edgeprune.core import device_matrix
from edgeprune.core.arrays import Array
from edgeprune.keras_model.calls import Tensor
from edgeprune.keras_model.layers import Layer, kernel_variable


def groups(layer: Layer) -> int:
    """The number of channel groups of a layer; each row of its matrix reads one group.

    Rows of one group are consecutive. The channels of a depthwise convolution are groups.
    """
    if type(layer).__name__.startswith("Depthwise"):
        return int(layer.kernel.shape[-2])
    return int(getattr(layer, "groups", 1))


def has_columns(layer: Layer) -> bool:
    """Whether `columns` supports a layer: its kind has a device matrix, and channels are last."""
    kernel = kernel_variable(layer)
    return kernel is not None and getattr(layer, "data_format", None) != "channels_first"


def columns(layer: Layer, inputs: Tensor) -> Tensor:
    """The columns of the device matrix for every output position.

    Args:
      layer: of a kind that has a device matrix, channels last.
      inputs: input of the layer, `[n, ..., channels]`.

    Returns:
      float32 tensor `[positions, groups, in]`, positions in the order of the flattened output.
    """
    inputs = tf.cast(inputs, tf.float32)
    kind = type(layer).__name__
    if kind == "Dense":
        made = inputs
    elif kind.startswith("Separable"):
        made = _depthwise_part(layer, inputs)
    elif kind.endswith("Transpose"):
        made = _transposed_patches(layer, inputs)
    else:
        made = _patches(layer, inputs)
    count = groups(layer)
    shape = tuple(kernel_variable(layer).shape)
    per_group = device_matrix.device_shape(kind, shape)[1]
    if count == 1:
        return tf.reshape(made, [-1, 1, per_group])
    channels = int(inputs.shape[-1])
    taps = per_group * count // channels
    split = tf.reshape(made, [-1, taps, count, channels // count])
    return tf.reshape(tf.transpose(split, [0, 2, 1, 3]), [-1, count, per_group])


def linear_output(layer: Layer, inputs: Tensor) -> Tensor:
    """The output of a layer before its activation function.

    Args:
      layer: of a kind that has a device matrix, channels last.
      inputs: input of the layer, `[n, ..., channels]`.

    Returns:
      float32 tensor `[positions, out]`.
    """
    with _without_activation(layer):
        outputs = layer(inputs)
    return tf.reshape(tf.cast(outputs, tf.float32), [-1, outputs.shape[-1]])


@contextlib.contextmanager
def _without_activation(layer: Layer) -> Iterator[None]:
    before = layer.activation
    layer.activation = keras.activations.linear
    try:
        yield
    finally:
        layer.activation = before


def _patches(layer: Layer, inputs: Tensor) -> Tensor:
    """The input patches of a convolution, `[n, h, w, kh * kw * channels]`, channel fastest."""
    size, strides, rates = (
        tuple(value) for value in (layer.kernel_size, layer.strides, layer.dilation_rate)
    )
    padding = layer.padding
    if padding == "causal":
        left = rates[0] * (size[0] - 1)
        inputs, padding = tf.pad(inputs, [[0, 0], [left, 0], [0, 0]]), "valid"
    if len(size) == 1:
        inputs = inputs[:, None]
        size, strides, rates = ((1, value[0]) for value in (size, strides, rates))
    if size == (1, 1):
        return inputs[:, :: strides[0], :: strides[1]]
    return tf.image.extract_patches(
        inputs, (1, *size, 1), (1, *strides, 1), (1, *rates, 1), padding.upper()
    )


def _depthwise_part(layer: Layer, inputs: Tensor) -> Tensor:
    """The input `[n, ..., channels]` of the pointwise kernel of a separable convolution."""
    return keras.ops.depthwise_conv(
        inputs,
        layer.depthwise_kernel,
        strides=layer.strides,
        padding=layer.padding,
        dilation_rate=layer.dilation_rate,
        data_format=layer.data_format,
    )


def _transposed_patches(layer: Layer, inputs: Tensor) -> Tensor:
    """The inputs of all taps of a transposed kernel at every output, `[n, h, w, taps * channels]`.

    A transposed convolution with a kernel that is the identity at one tap and 0 elsewhere gives
    that tap's input.
    """
    channels = int(inputs.shape[-1])
    taps = [*np.ndindex(*layer.kernel_size)]
    parts = []
    for tap in taps:
        kernel: Array = np.zeros((*layer.kernel_size, channels, channels), np.float32)
        kernel[tap] = np.eye(channels, dtype=np.float32)
        parts.append(_transpose_op(layer, inputs, kernel))
    return tf.concat(parts, axis=-1)


def _transpose_op(layer: Layer, inputs: Tensor, kernel: Array) -> Any:
    return keras.ops.conv_transpose(
        inputs,
        kernel,
        strides=list(layer.strides),
        padding=layer.padding,
        output_padding=layer.output_padding,
        dilation_rate=layer.dilation_rate,
        data_format=layer.data_format,
    )
