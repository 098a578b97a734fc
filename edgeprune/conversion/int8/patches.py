"""What a layer's weights are multiplied by: its inputs at some positions, as rows."""

from __future__ import annotations

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgeprune.core.arrays import Array
from edgeprune.tflite.format.graph import Operator, Tensor


def as_matrix(op: str, weights: Array) -> Array:
    """`[outputs, inputs]` of the stored weights of a convolution or FULLY_CONNECTED."""
    matrix = weights[0].reshape(-1, weights.shape[-1]).T if op == "DEPTHWISE_CONV_2D" else weights
    return matrix.reshape(len(matrix), -1)


def from_matrix(op: str, matrix: Array, shape: tuple[int, ...]) -> Array:
    """The stored weights of a matrix from `as_matrix`."""
    return (matrix.T if op == "DEPTHWISE_CONV_2D" else matrix).reshape(shape)


def patches(operator: Operator, weights: Tensor, values: Array, positions: Array) -> Array:
    """Inputs of a layer in real numbers at some positions of its output.

    Args:
      operator: a CONV_2D, DEPTHWISE_CONV_2D or FULLY_CONNECTED.
      weights: its weights.
      values: its input `[n, *shape]`, with the batch of one behind the samples.
      positions: `[n, p]`, of each sample's output rows and columns, counted through.

    Returns:
      `[n * p, inputs]`; for DEPTHWISE_CONV_2D `[channels, n * p, inputs]`.
    """
    if operator.op == "FULLY_CONNECTED":
        rows = values.reshape(len(values), -1, weights.shape[-1])
        return np.take_along_axis(rows, positions[:, :, None], 1).reshape(-1, weights.shape[-1])
    image = values[:, 0]
    windows = _windows(operator, weights.shape[1:3], image)
    sample = np.arange(len(image))[:, None]
    column = positions % windows.shape[2]
    found = windows[sample, positions // windows.shape[2], column]
    if operator.op == "CONV_2D":
        # [n, p, channels, height, width] -> [n * p, height * width * channels]
        return np.moveaxis(found, 2, -1).reshape(found.shape[0] * found.shape[1], -1)
    apart = found.reshape(-1, image.shape[-1], weights.shape[1] * weights.shape[2])
    multiplier = weights.shape[-1] // image.shape[-1]
    return np.repeat(np.moveaxis(apart, 1, 0), multiplier, axis=0)


def _windows(operator: Operator, kernel: tuple[int, ...], image: Array) -> Array:
    """A view `[n, rows, columns, channels, height, width]` of an image `[n, h, w, channels]`."""
    options = operator.options
    strides = (options.strideH, options.strideW)
    dilations = (options.dilationHFactor, options.dilationWFactor)
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    if options.padding == schema.Padding.SAME:
        image = np.pad(image, [(0, 0), *_same(image.shape[1:3], strides, reach), (0, 0)])
    view: Array = np.lib.stride_tricks.sliding_window_view(image, tuple(reach), (1, 2))  # type: ignore[call-overload]
    return view[:, :: strides[0], :: strides[1], :, :: dilations[0], :: dilations[1]]


def _same(
    sizes: tuple[int, ...], strides: tuple[int, int], reach: list[int]
) -> list[tuple[int, int]]:
    """Zeros before and behind rows and columns, as TFLite pads."""
    totals = [
        max(0, (-(-size // stride) - 1) * stride + long - size)
        for size, stride, long in zip(sizes, strides, reach, strict=True)
    ]
    return [(total // 2, total - total // 2) for total in totals]
