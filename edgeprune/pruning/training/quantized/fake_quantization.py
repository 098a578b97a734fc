"""Fake quantisation: real numbers rounded to what an int8 file holds, with a gradient.

Every value becomes the number that the device computes with: an integer times a scale. What comes
before is computed as in any other network, and the gradient passes as if nothing had been rounded
(straight through), except where a value left its range.

Kernels are symmetric, with a scale per output channel or one for all, and take the integers from
-127 to 127. Activations are asymmetric over a range that contains 0, and take all of int8; their
zero point is an integer, so that 0 is exact. Source of both: the quantisation specification of
TensorFlow Lite, https://ai.google.dev/edge/litert/models/quantization_spec.
"""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

LARGEST_WEIGHT = 127
"""The largest integer of a kernel; -128 is left out, so that zero is the middle."""
_CHANNEL_AXES = {
    "Dense": (-1,),
    "Conv1D": (-1,),
    "Conv2D": (-1,),
    "Conv1DTranspose": (-2,),
    "Conv2DTranspose": (-2,),
    "DepthwiseConv1D": (-2, -1),
    "DepthwiseConv2D": (-2, -1),
}
"""The axes of a Keras kernel that tell its output channels apart, by the kind of layer."""
_SMALLEST = 1e-30
"""Keeps quotients finite where all weights of a channel are 0."""


def channel_axes(kind: str, *, per_channel_dense: bool) -> tuple[int, ...]:
    """The axes of a kernel along which scales differ, counted from the last; none for one scale.

    Args:
      kind: Keras class name of the layer.
      per_channel_dense: whether a Dense kernel has a scale per output channel.
    """
    return () if kind == "Dense" and not per_channel_dense else _CHANNEL_AXES.get(kind, ())


def kernel_scale(kernel: Any, axes: tuple[int, ...]) -> Any:
    """The scales of a kernel: its largest magnitude over `LARGEST_WEIGHT`.

    Args:
      kernel: tensor in Keras order.
      axes: as `channel_axes` gives them.

    Returns:
      A tensor that can be broadcast to the kernel: its size along `axes`, 1 along the others.
    """
    kept = {axis % len(kernel.shape) for axis in axes}
    others = tuple(axis for axis in range(len(kernel.shape)) if axis not in kept)
    return keras.ops.max(keras.ops.abs(kernel), axis=others, keepdims=True) / LARGEST_WEIGHT


def fake_quantize_kernel(kernel: Any, axes: tuple[int, ...]) -> Any:
    """A kernel whose weights are integers times their scale; zeros stay zero.

    The scale of a channel is that of the largest of its weights, so that none leaves its range and
    all of the gradient passes. Batch normalisation behind a convolution multiplies its channels,
    and their scales with them: what is rounded is the same before it is folded and afterwards.

    Args:
      kernel: float tensor in Keras order, with its zeros in place.
      axes: as `channel_axes` gives them.

    Returns:
      A tensor of the same shape and dtype.
    """
    exact = keras.ops.stop_gradient(keras.ops.cast(kernel, "float32"))
    scale = keras.ops.maximum(kernel_scale(exact, axes), _SMALLEST)
    error = keras.ops.round(exact / scale) * scale - exact
    return kernel + keras.ops.cast(error, kernel.dtype)


def fake_quantize(values: Any, minimum: Any, maximum: Any) -> Any:
    """Activations as int8 holds them; of values outside the range, its nearest end.

    Args:
      values: float tensor of any shape.
      minimum: scalar tensor, at most 0.
      maximum: scalar tensor, at least 0 and above `minimum`.

    Returns:
      A tensor of the same shape and dtype. Its gradient is that of the values inside the range; the
      ends of the range have the gradient of what they clip.
    """
    exact = keras.ops.cast(values, "float32")
    rounded = tf.quantization.fake_quant_with_min_max_vars(exact, minimum, maximum)
    return keras.ops.cast(rounded, values.dtype)
