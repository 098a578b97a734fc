"""A layer's inputs as the columns that its device matrix is multiplied with (im2col).

For every output position a layer computes `matrix @ column + bias` before its activation function;
`columns` gives those columns, and `outputs_of` the result.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
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


def positions(layer: Layer, inputs: Tensor) -> int:
    """The number of output positions of a layer, of all samples of a batch."""
    return math.prod(layer.compute_output_shape(tuple(inputs.shape))[:-1])


def columns(layer: Layer, inputs: Tensor, chosen: Array | None = None) -> Tensor:
    """The columns of the device matrix for every output position, or for those chosen.

    Args:
      layer: of a kind that has a device matrix, channels last.
      inputs: input of the layer, `[n, ..., channels]`.
      chosen: `[k]`, indices of positions in the order of the flattened output; None for all.

    Returns:
      float32 tensor `[positions, groups, in]`.
    """
    inputs = tf.cast(inputs, tf.float32)
    kind = type(layer).__name__
    if kind == "Dense":
        made = _taken(inputs, chosen)
    elif kind.startswith("Separable"):
        made = _taken(_depthwise_part(layer, inputs), chosen)
    elif kind.endswith("Transpose"):
        made = _taken(_transposed_patches(layer, inputs), chosen)
    else:
        made = _patches(layer, inputs, chosen)
    count = groups(layer)
    shape = tuple(kernel_variable(layer).shape)
    per_group = device_matrix.device_shape(kind, shape)[1]
    if count == 1:
        return tf.reshape(made, [-1, 1, per_group])
    channels = int(inputs.shape[-1])
    taps = per_group * count // channels
    split = tf.reshape(made, [-1, taps, count, channels // count])
    return tf.reshape(tf.transpose(split, [0, 2, 1, 3]), [-1, count, per_group])


def _taken(values: Tensor, chosen: Array | None) -> Tensor:
    """The chosen positions of values `[n, ..., channels]`, as `[k, channels]`."""
    flat = tf.reshape(values, [-1, values.shape[-1]])
    return flat if chosen is None else tf.gather(flat, chosen)


def outputs_of(layer: Layer, made: Tensor) -> Tensor:
    """What a layer computes before its activation function.

    Args:
      layer: of a kind that has a device matrix.
      made: its columns, float32 `[positions, groups, in]`.

    Returns:
      float32 tensor `[positions, out]`.
    """
    kernel = np.asarray(kernel_variable(layer), np.float32)
    matrix = device_matrix.to_device(type(layer).__name__, kernel)
    by_group = matrix.reshape(made.shape[1], -1, matrix.shape[1])
    outputs = tf.matmul(tf.transpose(made, [1, 0, 2]), by_group, transpose_b=True)
    flat = tf.reshape(tf.transpose(outputs, [1, 0, 2]), [-1, len(matrix)])
    return flat + tf.cast(layer.bias, tf.float32) if layer.use_bias else flat


def _patches(layer: Layer, inputs: Tensor, chosen: Array | None) -> Tensor:
    """The input patches of a convolution, `[..., kh * kw * channels]`, channel fastest."""
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
        return _taken(inputs[:, :: strides[0], :: strides[1]], chosen)
    if chosen is not None:
        axes = [
            _Axis(length, window, stride, rate, padding)
            for length, window, stride, rate in zip(
                inputs.shape[1:3], size, strides, rates, strict=True
            )
        ]
        return _chosen_patches(inputs, axes, chosen)
    return tf.image.extract_patches(
        inputs, (1, *size, 1), (1, *strides, 1), (1, *rates, 1), padding.upper()
    )


@dataclass(frozen=True)
class _Axis:
    """How a window moves along an axis of its input, in TensorFlow's way."""

    length: int
    size: int
    stride: int
    rate: int
    padding: str

    @property
    def outputs(self) -> int:
        """The number of positions of the window."""
        if self.padding == "same":
            return -(-self.length // self.stride)
        return (self.length - self._reach) // self.stride + 1

    @property
    def _reach(self) -> int:
        return (self.size - 1) * self.rate + 1

    def reads(self, at: Array) -> Array:
        """The indices that the window reads at some positions, `[k, size]`; outside is padding."""
        before = 0
        if self.padding == "same":
            before = max((self.outputs - 1) * self.stride + self._reach - self.length, 0) // 2
        return at[:, None] * self.stride - before + np.arange(self.size) * self.rate


def _chosen_patches(inputs: Tensor, axes: list[_Axis], chosen: Array) -> Tensor:
    """The patches at some positions of the output, without making the others."""
    height, width = axes
    image, at = np.divmod(chosen, height.outputs * width.outputs)
    rows, across = (
        axis.reads(part) for axis, part in zip(axes, np.divmod(at, width.outputs), strict=True)
    )
    inside = ((rows >= 0) & (rows < height.length))[:, :, None] & (
        (across >= 0) & (across < width.length)
    )[:, None, :]
    flat = (image[:, None] * height.length + rows.clip(0, height.length - 1))[:, :, None]
    flat = flat * width.length + across.clip(0, width.length - 1)[:, None, :]
    channels = inputs.shape[-1]
    found = tf.gather(tf.reshape(inputs, [-1, channels]), flat)
    found *= tf.constant(inside[..., None], tf.float32)
    return tf.reshape(found, [len(chosen), -1])


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
