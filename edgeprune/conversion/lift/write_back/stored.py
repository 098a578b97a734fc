"""Values in the form in which a file stores a constant: halves, or integers with fresh scales."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from edgeprune.core.arrays import Array
from edgeprune.core.errors import TfliteError
from edgeprune.tflite.format.draft import raw_bytes
from edgeprune.tflite.format.graph import Tensor

_FLOATS = ("float32", "float16", "float64")
_LARGEST = {"int4": 7, "int8": 127, "int16": 32767}
"""Largest integer of the symmetric types: the smallest one is left out, so that zero is exact."""


@dataclass(frozen=True, eq=False)
class Stored:
    """Values of a constant as the bytes of a file.

    `scales` and `zero_points` are empty for a float type. `read` are the values that the bytes
    stand for, float32 of `shape`: those asked for, rounded.
    """

    shape: tuple[int, ...]
    data: Array
    scales: Array
    zero_points: Array
    read: Array


def store_as(tensor: Tensor, values: Array) -> Stored:
    """Puts values into the type of a constant, with scales of their own where it has scales.

    Args:
      tensor: the constant as the file has it; where it has a scale per channel, so has the result.
      values: float32 with the axes of `tensor`; their lengths may be others.

    Raises:
      TfliteError: a type that is not one of weights, or values that it cannot hold.
    """
    if not np.isfinite(values).all():
        raise _refused(tensor, "finite values", "some that are not")
    if tensor.dtype in _FLOATS:
        return _as_floats(tensor, values)
    if tensor.scales.size and tensor.dtype in _LARGEST and not tensor.zero_points.any():
        return _as_symmetric(tensor, values)
    if tensor.scales.size == 1 and tensor.dtype in ("uint8", "int8"):
        return _as_asymmetric(tensor, values)
    raise _refused(tensor, "weights of float32, float16 or int8 with scales", tensor.dtype)


def _refused(tensor: Tensor, expected: str, received: str) -> TfliteError:
    return TfliteError(
        f"{tensor.name!r}: expected {expected} to write new weights into. Received: {received}. "
        "Leave the layer that reads it out with --skip."
    )


def _as_floats(tensor: Tensor, values: Array) -> Stored:
    with np.errstate(over="ignore"):
        typed = values.astype(np.dtype(tensor.dtype).newbyteorder("<"))
    if not np.isfinite(typed).all():
        largest = float(np.abs(values).max())
        raise _refused(tensor, f"values that {tensor.dtype} holds", f"{largest:g}")
    none = np.empty(0)
    return Stored(values.shape, raw_bytes(typed), none, none, typed.astype(np.float32))


def _as_symmetric(tensor: Tensor, values: Array) -> Stored:
    top = _LARGEST[tensor.dtype]
    axis = tensor.quantized_dimension
    each = tensor.scales.size > 1
    others = tuple(i for i in range(values.ndim) if i != axis) if each else None
    reach = np.abs(values).max(axis=others, keepdims=True) if values.size else np.ones(())
    scales = np.where(reach > 0, reach / top, 1).astype(np.float32)
    integers = np.clip(np.rint(values / scales), -top, top)
    flat = scales.reshape(-1)
    zeros = np.zeros(flat.size, np.int64)
    read = (integers * scales).astype(np.float32)
    return Stored(values.shape, _packed(tensor.dtype, integers), flat, zeros, read)


def _as_asymmetric(tensor: Tensor, values: Array) -> Stored:
    limits = np.iinfo(tensor.dtype)
    low, high = min(float(values.min()), 0.0), max(float(values.max()), 0.0)
    scale = np.float32((high - low) / (limits.max - limits.min) or 1)
    zero = int(np.clip(np.rint(limits.min - low / scale), limits.min, limits.max))
    integers = np.clip(np.rint(values / scale) + zero, limits.min, limits.max)
    return Stored(
        values.shape,
        _packed(tensor.dtype, integers),
        np.array([scale], np.float32),
        np.array([zero], np.int64),
        ((integers - zero) * scale).astype(np.float32),
    )


def _packed(dtype: str, integers: Array) -> Array:
    """The bytes of integers; two of int4 share a byte, the first in the lower half."""
    if dtype != "int4":
        return raw_bytes(integers.astype(dtype))
    nibbles = integers.reshape(-1).astype(np.int8).view(np.uint8) & 0x0F
    even = np.zeros(math.ceil(nibbles.size / 2) * 2, np.uint8)
    even[: nibbles.size] = nibbles
    return even[::2] | even[1::2] << 4
