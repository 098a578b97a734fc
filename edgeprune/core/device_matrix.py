"""Converts between Keras kernels and the device matrix; the one module that knows both layouts.

The device matrix is a weight in the order in which the device's kernels read it: `[out, in]` in
TFLite order, a convolution's `kh * kw * in` flattened into `in` with the channel fastest.

    kind               Keras kernel                 TFLite weight             device matrix
    Dense              [in, out]                    [out, in]                 [out, in]
    Conv1D             [k, in, out]                 [out, 1, k, in]           [out, k*in]
    Conv2D             [kh, kw, in, out]            [out, kh, kw, in]         [out, kh*kw*in]
    Conv1DTranspose    [k, out, in]                 [out, 1, k, in]           [out, k*in]
    Conv2DTranspose    [kh, kw, out, in]            [out, kh, kw, in]         [out, kh*kw*in]
    DepthwiseConv1D    [k, in, mult]                [1, 1, k, in*mult]        [in*mult, k]
    DepthwiseConv2D    [kh, kw, in, mult]           [1, kh, kw, in*mult]      [in*mult, kh*kw]
    SeparableConv1D    pointwise [1, in, out]       [out, 1, 1, in]           [out, in]
    SeparableConv2D    pointwise [1, 1, in, out]    [out, 1, 1, in]           [out, in]

`in` of a grouped convolution is the number of input channels of one group, `mult` the depth
multiplier. A separable layer holds two kernels: the table gives the pointwise one, and the
depthwise one is never pruned.

Source of the TFLite layouts: tensorflow/lite/kernels/{fully_connected,conv,depthwise_conv,
transpose_conv}.cc, tag v2.14.0.
"""

from __future__ import annotations

import math
from enum import Enum

import numpy as np

from edgeprune.core.arrays import Array
from edgeprune.core.errors import PatternError
from edgeprune.core.pattern import Block, NofM, Pattern, Unstructured
from edgeprune.core.terms import KERNEL_AXES, LAYER_KINDS


class _Order(Enum):
    """The position of the output axis in a Keras kernel."""

    OUT_LAST = "[..., in, out]"
    OUT_BEFORE_IN = "[..., out, in]"
    DEPTHWISE = "[..., in, mult]"


_ORDER = {
    "Dense": _Order.OUT_LAST,
    "Conv1D": _Order.OUT_LAST,
    "Conv2D": _Order.OUT_LAST,
    "SeparableConv1D": _Order.OUT_LAST,
    "SeparableConv2D": _Order.OUT_LAST,
    "Conv1DTranspose": _Order.OUT_BEFORE_IN,
    "Conv2DTranspose": _Order.OUT_BEFORE_IN,
    "DepthwiseConv1D": _Order.DEPTHWISE,
    "DepthwiseConv2D": _Order.DEPTHWISE,
}


def _order(kind: str, shape: tuple[int, ...]) -> _Order:
    if kind not in _ORDER:
        raise PatternError(
            f"Expected a layer kind, one of {', '.join(LAYER_KINDS)}. Received: {kind!r}."
        )
    if len(shape) != KERNEL_AXES[kind]:
        raise PatternError(
            f"A {kind} kernel has {KERNEL_AXES[kind]} axes. Received: shape {list(shape)}."
        )
    return _ORDER[kind]


def tfmot_pattern(
    block_size: tuple[int, int], sparsity_m_by_n: tuple[int, int] | None = None
) -> Pattern:
    """Converts two options of TensorFlow Model Optimization to a pattern on the device matrix.

    Args:
      block_size: (height, width) on a Keras Dense kernel `[in, out]`; (4, 1) is
        `Block(out=1, in_=4)`.
      sparsity_m_by_n: (m, n), m zeros in n consecutive input channels; (1, 4) is `NofM(3, 4)`. As
        in TensorFlow Model Optimization it takes precedence over `block_size`.

    Raises:
      PatternError: not two integers, or not `0 < m < n`.

    Source: pruning_impl.py (`_maybe_update_block_mask`) and pruning_utils.py
    (`generate_m_by_n_mask`) in tensorflow_model_optimization/python/core/sparsity/keras at 6fbc2ce.
    """
    if sparsity_m_by_n is not None:
        zeros, size = _two_integers("sparsity_m_by_n", sparsity_m_by_n)
        if not 0 < zeros < size:
            raise PatternError(
                "`sparsity_m_by_n` is (m, n), m zeros in n consecutive weights with 0 < m < n. "
                f"Received: ({zeros}, {size})."
            )
        return NofM(size - zeros, size)
    height, width = _two_integers("block_size", block_size)
    return Unstructured() if (height, width) == (1, 1) else Block(width, height)


def _two_integers(name: str, value: tuple[int, int]) -> tuple[int, int]:
    if (
        not isinstance(value, tuple | list)
        or len(value) != 2
        or not all(isinstance(number, int) for number in value)
    ):
        raise PatternError(f"`{name}` takes two whole numbers, such as (2, 4). Received: {value}.")
    return value[0], value[1]


def device_shape(kind: str, shape: tuple[int, ...]) -> tuple[int, int]:
    """The shape `[out, in]` of the device matrix of a Keras kernel.

    Args:
      kind: Keras class name of the layer.
      shape: shape of the kernel in Keras order, see the module's table.

    Raises:
      PatternError: an unknown kind, or a wrong number of axes.
    """
    match _order(kind, shape):
        case _Order.OUT_LAST:
            return shape[-1], math.prod(shape[:-1])
        case _Order.OUT_BEFORE_IN:
            return shape[-2], math.prod(shape[:-2]) * shape[-1]
        case _Order.DEPTHWISE:
            return shape[-2] * shape[-1], math.prod(shape[:-2])


def input_channels(kind: str, shape: tuple[int, ...]) -> int:
    """The number of input channels of one output: the columns of one kernel position.

    1 for a depthwise kernel, each output of which reads one channel.

    Args:
      kind: Keras class name of the layer.
      shape: shape of the kernel in Keras order, see the module's table.

    Raises:
      PatternError: an unknown kind, or a wrong number of axes.
    """
    order = _order(kind, shape)
    if order is _Order.DEPTHWISE:
        return 1
    return shape[-1] if order is _Order.OUT_BEFORE_IN else shape[-2]


def to_device(kind: str, kernel: Array) -> Array:
    """Converts a Keras kernel (shapes in the module's table) to its device matrix `[out, in]`.

    Raises:
      PatternError: an unknown kind, or a wrong number of axes.
    """
    rows = device_shape(kind, kernel.shape)[0]
    match _order(kind, kernel.shape):
        case _Order.OUT_LAST:
            return np.moveaxis(kernel, -1, 0).reshape(rows, -1)
        case _Order.OUT_BEFORE_IN:
            return np.moveaxis(kernel, -2, 0).reshape(rows, -1)
        case _Order.DEPTHWISE:
            return np.moveaxis(kernel, (-2, -1), (0, 1)).reshape(rows, -1)


def to_keras(kind: str, matrix: Array, shape: tuple[int, ...]) -> Array:
    """Converts a device matrix `[out, in]` back to a Keras kernel of shape `shape`.

    Raises:
      PatternError: the matrix has another shape than the device matrix of such a kernel.
    """
    if matrix.shape != device_shape(kind, shape):
        raise PatternError(
            f"The device matrix of a {kind} kernel {list(shape)} is "
            f"{list(device_shape(kind, shape))}. Received: {list(matrix.shape)}."
        )
    match _order(kind, shape):
        case _Order.OUT_LAST:
            return np.moveaxis(matrix.reshape(shape[-1:] + shape[:-1]), 0, -1)
        case _Order.OUT_BEFORE_IN:
            return np.moveaxis(matrix.reshape(shape[-2:-1] + shape[:-2] + shape[-1:]), 0, -2)
        case _Order.DEPTHWISE:
            return np.moveaxis(matrix.reshape(shape[-2:] + shape[:-2]), (0, 1), (-2, -1))
