"""Grids of whole numbers: which real values the integers of a constant stand for.

New weights of a quantized file go on the grid that the file has where they lie on it, or within its
range; so weights that did not change keep their integers, and those that are zero the zero point.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgeprune.core.arrays import Array
from edgeprune.core.errors import TfliteError
from edgeprune.tflite.format.graph import Tensor

_LARGEST = {"int4": 7, "int8": 127, "int16": 32767}
"""Largest integer of the symmetric types: the smallest one is left out, so that zero is exact."""
_LEAST = {"int4": -8}
_ASYMMETRIC = ("uint8", "int8")
_NEAR = 1e-3
"""By how much of a step a point of a grid may seem off it: float32 rounds products by less."""
_COARSEST = 2
"""A slice keeps its scale while its values use at least half of the range."""
_FINEST = 256
"""How many times finer than the finest one before a fresh scale may be."""
_LOOKED_AT = 8
"""Largest values of a slice by which other grids are ruled out."""
_SAME_SCALE = 1e-4
_MOST_BIAS = 2**30
"""Largest bias in steps; sums of products are added to it in 32 bits."""


@dataclass(frozen=True, eq=False)
class Grid:
    """Scales `[n]` and zero points `[n]`, of all values (n is 1) or of each slice along an axis."""

    scales: Array
    zeros: Array
    axis: int
    fresh: int = 0
    """How many slices left the grid that the file had for them."""

    def along(self, values: Array) -> tuple[Array, Array]:
        """Scales and zero points in a shape that goes with values."""
        shape = [1] * values.ndim
        if self.scales.size > 1:
            shape[self.axis] = -1
        return self.scales.reshape(shape), self.zeros.reshape(shape)


def limits_of(dtype: str) -> tuple[int, int]:
    """The smallest and the largest integer of a type."""
    if dtype == "int4":
        return _LEAST[dtype], _LARGEST[dtype]
    found = np.iinfo(dtype)
    return int(found.min), int(found.max)


def fresh_grid(tensor: Tensor, values: Array) -> Grid:
    """The finest grid that holds values, symmetric where that of the constant is.

    Args:
      tensor: the constant as the file has it; where it has a scale per channel, so has the result.
      values: float32 with the axes of `tensor`; their lengths may be others.

    Raises:
      TfliteError: a type that is not one of weights.
    """
    rows = _slices(tensor, values)
    if tensor.scales.size and _is_symmetric(tensor):
        return Grid(*_symmetric(tensor.dtype, rows), tensor.quantized_dimension)
    if tensor.scales.size and tensor.dtype in _ASYMMETRIC:
        return Grid(*_asymmetric(tensor.dtype, rows), tensor.quantized_dimension)
    raise not_of_weights(tensor)


def not_of_weights(tensor: Tensor) -> TfliteError:
    """Says that new weights cannot be written into a type."""
    return refused(tensor, "weights of float32, float16 or int8 with scales", tensor.dtype)


def refused(tensor: Tensor, expected: str, received: str) -> TfliteError:
    """Says why new weights cannot be written into a constant."""
    return TfliteError(
        f"{tensor.name!r}: expected {expected} to write new weights into. Received: {received}. "
        "Leave the layer that reads it out with --skip."
    )


def kept_grid(tensor: Tensor, values: Array, floor: Array | float = 0.0) -> Grid:
    """The grid of a constant, with fresh scales for the slices whose new values it does not hold.

    A slice whose values are points of a grid of the file, its own or another slice's, keeps that;
    one with values between the points keeps its own, as long as they use half of the range.

    Args:
      tensor: the constant as the file has it.
      values: float32 with the axes of `tensor`; their lengths may be others.
      floor: least fresh scale, for all slices or each.

    Raises:
      TfliteError: as `fresh_grid`.
    """
    rows = _slices(tensor, values)
    made = fresh_grid(tensor, values)
    old = Grid(tensor.scales, np.resize(tensor.zero_points, tensor.scales.size), made.axis)
    found = _found(tensor.dtype, rows, old)
    needed = floor if np.size(floor) == len(rows) else np.max(floor)
    least = np.maximum(needed, float(old.scales.min()) / _FINEST)
    scales = np.maximum(made.scales, least)
    zeros = made.zeros if _is_symmetric(tensor) else _zeros(tensor.dtype, rows, scales)
    kept = found >= 0
    return Grid(
        np.where(kept, old.scales[found], scales).astype(np.float32),
        np.where(kept, old.zeros[found], zeros).astype(np.int64),
        made.axis,
        int((~kept).sum()),
    )


def bias_grid(tensor: Tensor, step: float, kernel: Grid) -> Grid:
    """The grid of a bias, whose scales are those of the input times those of the kernel.

    Args:
      tensor: the bias as the file has it.
      step: scale of the operator's input.
      kernel: the grid of its kernel.
    """
    products = np.float32(step) * kernel.scales.astype(np.float32)
    apart = np.abs(tensor.scales[None, :] / products[:, None] - 1)
    nearest = apart.argmin(axis=1)
    same = apart[np.arange(len(products)), nearest] <= _SAME_SCALE
    scales = np.where(same, tensor.scales[nearest], products).astype(np.float32)
    return Grid(scales, np.zeros(scales.size, np.int64), tensor.quantized_dimension)


def least_scale(bias: Array, step: float) -> Array:
    """The least scales of a kernel with which its bias is a number of 32 bits, `[n]`.

    Args:
      bias: real values.
      step: scale of the operator's input.
    """
    return np.asarray(np.abs(bias.reshape(-1)) / (step * _MOST_BIAS))


def _slices(tensor: Tensor, values: Array) -> Array:
    """Values `[n, rest]`, one row for each scale."""
    if tensor.scales.size <= 1:
        return values.reshape(1, -1)
    moved = np.moveaxis(values, tensor.quantized_dimension, 0)
    return np.asarray(moved.reshape(len(moved), -1))


def _is_symmetric(tensor: Tensor) -> bool:
    return tensor.dtype in _LARGEST and not tensor.zero_points.any()


def _symmetric(dtype: str, rows: Array) -> tuple[Array, Array]:
    reach = np.abs(rows).max(axis=1, initial=0.0)
    scales = np.where(reach > 0, reach / _LARGEST[dtype], 1).astype(np.float32)
    return scales, np.zeros(scales.size, np.int64)


def _asymmetric(dtype: str, rows: Array) -> tuple[Array, Array]:
    least, most = limits_of(dtype)
    low, high = rows.min(axis=1, initial=0.0), rows.max(axis=1, initial=0.0)
    wide = (high - low) / (most - least)
    scales = np.where(wide > 0, wide, 1).astype(np.float32)
    return scales, _zeros(dtype, rows, scales)


def _zeros(dtype: str, rows: Array, scales: Array) -> Array:
    """Zero points with which the least value of each row, or 0, is the smallest integer."""
    least, most = limits_of(dtype)
    low = rows.min(axis=1, initial=0.0)
    zeros: Array = np.clip(np.rint(least - low / scales), least, most).astype(np.int64)
    return zeros


def _found(dtype: str, rows: Array, old: Grid) -> Array:
    """The grid of the file that each row keeps, by its index; -1 where it gets a fresh one."""
    own = np.arange(len(rows)) if len(rows) == old.scales.size else np.full(len(rows), -1)
    found = np.full(len(rows), -1)
    for number, row in enumerate(rows):
        mine = own[number]
        if mine >= 0 and _fits(dtype, row, old, mine, exactly=True):
            found[number] = mine
            continue
        others = _exact(dtype, row, old)
        if others.size:
            found[number] = others[0]
        elif mine >= 0 and _fits(dtype, row, old, mine, exactly=False):
            found[number] = mine
    return found


def _exact(dtype: str, row: Array, old: Grid) -> Array:
    """The grids that hold all values of a row."""
    if not row.any():
        return np.argsort(old.scales)[old.scales.size // 2 :][:1]
    largest = row[np.argsort(np.abs(row))[-_LOOKED_AT:]]
    with np.errstate(divide="ignore", invalid="ignore"):
        steps = largest[None, :] / old.scales[:, None]
    likely = np.flatnonzero((np.abs(steps - np.rint(steps)) <= _NEAR).all(axis=1))
    held = [each for each in likely if _fits(dtype, row, old, each, exactly=True)]
    return np.array(held, int)


def _fits(dtype: str, row: Array, old: Grid, index: int, *, exactly: bool) -> bool:
    """Whether a grid holds a row: as its points, bit for bit, or within its range."""
    least, most = limits_of(dtype)
    low, high = least - old.zeros[index], most - old.zeros[index]
    with np.errstate(divide="ignore", invalid="ignore"):
        steps = row.astype(np.float64) / old.scales[index]
    points = np.rint(steps)
    if not (np.isfinite(points).all() and points.size):
        return False
    if exactly:
        read = (points * old.scales[index].astype(np.float64)).astype(np.float32)
        return bool(points.min() >= low and points.max() <= high and np.array_equal(read, row))
    low = low if old.zeros[index] else max(low, -high)
    used = max(np.ptp(steps), 2 * np.abs(steps).max())
    return bool(steps.min() >= low and steps.max() <= high and used * _COARSEST >= high - low)
