"""Layers for what .tflite files have and Keras has no layer for; Keras can save and copy them.

They compute in Keras' own operations, and their shapes are given without being run.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from edgeprune.core.errors import ModelError

PACKAGE = "edgeprune"
"""Under this name Keras keeps the layers."""
OPERATIONS = ("add", "subtract", "multiply", "divide", "maximum", "minimum", "power")
"""What `ConstantOperand` computes, by the names of `keras.ops`."""

Tensor = Any
Size = int | None


@keras.saving.register_keras_serializable(PACKAGE)
class ConstantOperand(keras.layers.Layer):
    """`operation(x, value)`, or `operation(value, x)` with `left`; value is a constant array.

    Args:
      operation: one of `OPERATIONS`.
      shape: of the constant; it lines up with the last axes of `x` and is broadcast with it.
      left: whether the constant is the first operand.
    """

    def __init__(
        self, operation: str, shape: Sequence[int], *, left: bool = False, **more: Any
    ) -> None:
        super().__init__(**more)
        if operation not in OPERATIONS:
            raise ModelError(
                f"{self.name}: expected an operation out of {', '.join(OPERATIONS)}. Received: "
                f"'{operation}'."
            )
        self.operation = operation
        self.shape = tuple(shape)
        self.left = left

    def build(self, _: Any) -> None:
        """Makes the constant, zeros until it is set."""
        self.value = self.add_weight(
            shape=self.shape, name="value", trainable=False, initializer="zeros"
        )
        self.built = True

    def call(self, x: Tensor) -> Tensor:
        """Computes it."""
        function = getattr(keras.ops, self.operation)
        value = keras.ops.convert_to_tensor(self.value)
        return function(value, x) if self.left else function(x, value)

    def compute_output_shape(self, shape: Sequence[Size]) -> tuple[Size, ...]:
        """Shape after broadcasting."""
        return _broadcast(shape, self.shape)

    def get_config(self) -> dict[str, Any]:
        """What the layer is made from."""
        own = {"operation": self.operation, "shape": list(self.shape), "left": self.left}
        return {**super().get_config(), **own}


def _broadcast(shape: Sequence[Size], other: Sequence[int]) -> tuple[Size, ...]:
    rank = max(len(shape), len(other))
    first: tuple[Size, ...] = (*[1] * (rank - len(shape)), *shape)
    second = (*[1] * (rank - len(other)), *other)
    return tuple(b if a == 1 else a for a, b in zip(first, second, strict=True))


@keras.saving.register_keras_serializable(PACKAGE)
class HeldConstant(keras.layers.Layer):
    """A constant array, the same for every sample of its input, whose values are not looked at.

    Args:
      shape: of the constant, without the batch axis unless `whole`.
      whole: whether the result is the array itself, with no axis for samples.
    """

    def __init__(self, shape: Sequence[int], *, whole: bool = False, **more: Any) -> None:
        super().__init__(autocast=False, **more)
        self.shape = tuple(shape)
        self.whole = whole

    def build(self, _: Any) -> None:
        """Makes the constant, zeros until it is set."""
        self.value = self.add_weight(
            shape=self.shape,
            name="value",
            trainable=False,
            initializer="zeros",
            dtype=self.variable_dtype,
        )
        self.built = True

    def call(self, x: Tensor) -> Tensor:
        """Gives the constant for each sample of `x`."""
        value = keras.ops.convert_to_tensor(self.value)
        if self.whole:
            return value
        samples = keras.ops.shape(x)[0]
        return keras.ops.broadcast_to(value[None], (samples, *self.shape))

    def compute_output_spec(self, x: Tensor) -> Any:
        """Shape and type."""
        shape = self.shape if self.whole else (x.shape[0], *self.shape)
        return keras.KerasTensor(shape, dtype=self.variable_dtype)

    def get_config(self) -> dict[str, Any]:
        """What the layer is made from."""
        return {**super().get_config(), "shape": list(self.shape), "whole": self.whole}


@keras.saving.register_keras_serializable(PACKAGE)
class ChannelPad(keras.layers.Layer):
    """Channels of one value before and behind those of the last axis.

    Args:
      before: how many before.
      after: how many behind.
      value: what they hold.
    """

    def __init__(self, before: int, after: int, value: float = 0.0, **more: Any) -> None:
        super().__init__(**more)
        self.before = before
        self.after = after
        self.value = value

    def call(self, x: Tensor) -> Tensor:
        """Adds the channels."""
        pads = [(0, 0)] * (len(x.shape) - 1) + [(self.before, self.after)]
        return keras.ops.pad(x, pads, constant_values=self.value)

    def compute_output_shape(self, shape: Sequence[Size]) -> tuple[Size, ...]:
        """Shape with the channels."""
        last = shape[-1]
        return (*shape[:-1], None if last is None else last + self.before + self.after)

    def get_config(self) -> dict[str, Any]:
        """What the layer is made from."""
        own = {"before": self.before, "after": self.after, "value": self.value}
        return {**super().get_config(), **own}


@keras.saving.register_keras_serializable(PACKAGE)
class Saturate(keras.layers.Layer):
    """`min(max(x, low), high)`: what a tensor of whole numbers with one scale can hold of `x`.

    Args:
      low: the least real value.
      high: the greatest.
    """

    def __init__(self, low: float, high: float, **more: Any) -> None:
        super().__init__(**more)
        if not low <= high:
            raise ModelError(
                f"{self.name}: expected a range from low to high. Received: {low} to {high}."
            )
        self.low = float(low)
        self.high = float(high)

    def call(self, x: Tensor) -> Tensor:
        """Computes it."""
        return keras.ops.clip(x, self.low, self.high)

    def compute_output_shape(self, shape: Sequence[Size]) -> tuple[Size, ...]:
        """The shape stays."""
        return tuple(shape)

    def get_config(self) -> dict[str, Any]:
        """What the layer is made from."""
        return {**super().get_config(), "low": self.low, "high": self.high}


@keras.saving.register_keras_serializable(PACKAGE)
class Past(keras.layers.Layer):
    """Samples that follow each other, each behind what came before it.

    `[n, new, ...]` becomes `[n, length + new, ...]`: of each sample the last `length` places before
    it, then its own. Before the first sample of a batch comes a constant.

    Args:
      shape: of the constant, `[length, ...]`.
    """

    joins_samples = True
    """What `keras_model.interface` asks: samples that are run apart would not find each other."""

    def __init__(self, shape: Sequence[int], **more: Any) -> None:
        super().__init__(**more)
        self.shape = tuple(shape)

    def build(self, _: Any) -> None:
        """Makes the constant, zeros until it is set."""
        self.value = self.add_weight(
            shape=self.shape, name="value", trainable=False, initializer="zeros"
        )
        self.built = True

    def call(self, x: Tensor) -> Tensor:
        """Puts all places into one row, and takes a part of it for each sample."""
        new = x.shape[1]
        row = keras.ops.concatenate(
            [keras.ops.convert_to_tensor(self.value), keras.ops.reshape(x, (-1, *x.shape[2:]))]
        )
        first = keras.ops.arange(keras.ops.shape(x)[0]) * new
        places = first[:, None] + keras.ops.arange(self.shape[0] + new)[None]
        return keras.ops.take(row, places, axis=0)

    def compute_output_shape(self, shape: Sequence[Size]) -> tuple[Size, ...]:
        """Shape with what came before."""
        new = shape[1]
        return (shape[0], None if new is None else self.shape[0] + new, *shape[2:])

    def get_config(self) -> dict[str, Any]:
        """What the layer is made from."""
        return {**super().get_config(), "shape": list(self.shape)}


@keras.saving.register_keras_serializable(PACKAGE)
class LegacyResize(keras.layers.Layer):
    """Resizes images `[n, h, w, c]` the ways that TensorFlow 1 did, which Keras no longer has.

    Args:
      size: height and width of the result.
      method: "bilinear" or "nearest".
      align_corners: whether the centers of the corner pixels stay where they are.
      half_pixel_centers: whether a pixel's place is its center, not its corner.
    """

    def __init__(
        self,
        size: Sequence[int],
        method: str,
        *,
        align_corners: bool = False,
        half_pixel_centers: bool = False,
        **more: Any,
    ) -> None:
        super().__init__(**more)
        self.size = (int(size[0]), int(size[1]))
        self.method = method
        self.align_corners = align_corners
        self.half_pixel_centers = half_pixel_centers

    def call(self, x: Tensor) -> Tensor:
        """Resizes rows, then columns."""
        resize = _nearest if self.method == "nearest" else _bilinear
        for axis, size in zip((1, 2), self.size, strict=True):
            if x.shape[axis] != size:
                places = self._places(x.shape[axis], size)
                x = resize(x, axis, places)
        return x

    def _places(self, before: int, after: int) -> np.ndarray[Any, np.dtype[np.float32]]:
        """Where the pixels of the result are in the image, `[after]`, in its pixels."""
        corners = self.align_corners and after > 1
        scale = np.float32((before - 1) / (after - 1) if corners else before / after)
        at = np.arange(after, dtype=np.float32)
        if self.method == "nearest":
            at = (at + np.float32(0.5) if self.half_pixel_centers else at) * scale
            whole = np.floor(at + np.float32(0.5)) if self.align_corners else np.floor(at)
            return np.clip(whole, 0, before - 1)
        if self.half_pixel_centers:
            at = (at + np.float32(0.5)) * scale - np.float32(0.5)
        else:
            at = at * scale
        return np.clip(at, 0, before - 1).astype(np.float32)

    def compute_output_shape(self, shape: Sequence[Size]) -> tuple[Size, ...]:
        """Shape after resizing."""
        return (shape[0], *self.size, shape[3])

    def get_config(self) -> dict[str, Any]:
        """What the layer is made from."""
        own = {
            "size": list(self.size),
            "method": self.method,
            "align_corners": self.align_corners,
            "half_pixel_centers": self.half_pixel_centers,
        }
        return {**super().get_config(), **own}


def _nearest(x: Tensor, axis: int, places: Any) -> Tensor:
    return keras.ops.take(x, places.astype(np.int32), axis=axis)


def _bilinear(x: Tensor, axis: int, places: Any) -> Tensor:
    low = np.floor(places).astype(np.int32)
    high = np.minimum(low + 1, x.shape[axis] - 1)
    along = [1, 1, 1, 1]
    along[axis] = -1
    share = (places - low).reshape(along).astype(np.float32)
    first = keras.ops.take(x, low, axis=axis)
    return first + (keras.ops.take(x, high, axis=axis) - first) * share
