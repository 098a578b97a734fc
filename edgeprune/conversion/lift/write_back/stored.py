"""Values in the form in which a file stores a constant: halves, or integers with fresh scales."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from edgeprune.conversion.lift.write_back.grid import Grid, fresh_grid, limits_of, refused
from edgeprune.core.arrays import Array
from edgeprune.tflite.format.draft import raw_bytes
from edgeprune.tflite.format.graph import Tensor

_FLOATS = ("float32", "float16", "float64")


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
    fresh: int = 0
    """How many of its scales are others than the file had."""


def store_as(tensor: Tensor, values: Array) -> Stored:
    """Puts values into the type of a constant, with scales of their own where it has scales.

    Args:
      tensor: the constant as the file has it; where it has a scale per channel, so has the result.
      values: float32 with the axes of `tensor`; their lengths may be others.

    Raises:
      TfliteError: a type that is not one of weights, or values that it cannot hold.
    """
    if not np.isfinite(values).all():
        raise refused(tensor, "finite values", "some that are not")
    if tensor.dtype in _FLOATS:
        return _as_floats(tensor, values)
    return store_on(fresh_grid(tensor, values), tensor, values)


def store_on(grid: Grid, tensor: Tensor, values: Array) -> Stored:
    """Puts values on a grid; those that did not change keep their integers.

    Args:
      grid: has a scale for all values or for each slice.
      tensor: the constant as the file has it, which gives the type.
      values: float32 with the axes of `tensor`; their lengths may be others.

    Raises:
      TfliteError: values that are not finite.
    """
    if not np.isfinite(values).all():
        raise refused(tensor, "finite values", "some that are not")
    scales, zeros = grid.along(values)
    limits = limits_of(tensor.dtype)
    wide = scales.astype(np.float64)
    integers = np.clip(np.rint(values / wide) + zeros, *limits).astype(np.int64)
    read = ((integers - zeros) * wide).astype(np.float32)
    return Stored(
        values.shape,
        _packed(tensor.dtype, integers),
        grid.scales.astype(np.float32),
        grid.zeros.astype(np.int64),
        read,
        grid.fresh,
    )


def _as_floats(tensor: Tensor, values: Array) -> Stored:
    with np.errstate(over="ignore"):
        typed = values.astype(np.dtype(tensor.dtype).newbyteorder("<"))
    if not np.isfinite(typed).all():
        largest = float(np.abs(values).max())
        raise refused(tensor, f"values that {tensor.dtype} holds", f"{largest:g}")
    none = np.empty(0)
    return Stored(values.shape, raw_bytes(typed), none, none, typed.astype(np.float32))


def _packed(dtype: str, integers: Array) -> Array:
    """The bytes of integers; two of int4 share a byte, the first in the lower half."""
    if dtype != "int4":
        return raw_bytes(integers.astype(dtype))
    nibbles = integers.reshape(-1).astype(np.int8).view(np.uint8) & 0x0F
    even = np.zeros(math.ceil(nibbles.size / 2) * 2, np.uint8)
    even[: nibbles.size] = nibbles
    return even[::2] | even[1::2] << 4
