"""Rounds the weights of one layer to int8 so that what the layer gives stays near the float layer.

Rounding to nearest treats every weight by itself. What counts is the sum of squares of
`inputs @ weights.T`, in which errors of weights whose inputs go together add up or cancel. Weights
are moved on the int8 grid one after the other, each to the value that is best beside the others,
until a sweep is done; no step makes the sum larger. Source: Behdin et al., QuantEase: Optimization
based Quantization for Language Models, 2023, arXiv:2309.01885.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgeprune.core.arrays import Array

LARGEST = 127
"""int8 weights are symmetric: -127 to 127."""
SYMMETRIC = (-LARGEST, LARGEST)
_SHRUNK = (1.0, 0.97, 0.94, 0.9, 0.86, 0.82)
"""Scales that are tried, in parts of the one that reaches the largest weight."""
_MEAN = 0.3
"""Share of the mean of every input that is kept."""
_SWEEPS = 4
_BLOCK = 64
"""Inputs whose changes are gathered before they are passed on to the others."""


@dataclass(frozen=True, eq=False)
class Grid:
    """Weights on the int8 grid: `stored * scales[:, None]` are real values."""

    stored: Array
    """`[outputs, inputs]` of whole numbers: steps from the zero point."""
    scales: Array
    """`[outputs]` of float32, all the same where the layer has one scale."""

    @property
    def real(self) -> Array:
        """The weights as the layer takes them."""
        values: Array = self.stored * self.scales[:, None].astype(np.float64)
        return values


def nearest(weights: Array, scales: Array, limits: tuple[int, int] = SYMMETRIC) -> Grid:
    """Rounds every weight by itself; zeros stay zeros.

    `limits` are the least and the largest step.
    """
    steps = np.round(weights / scales[:, None].astype(np.float64))
    return Grid(np.clip(steps, *limits).astype(np.int16), scales)


def products(rows: Array, *, steady: float = 0.0) -> Array:
    """Sums of products of a layer's inputs: `[..., inputs, inputs]`.

    Their means count by `_MEAN` only, as a bias takes off what they shift, unless an activation
    clips it.

    Args:
      rows: `[..., samples, inputs]`, one set for all outputs, or one for each output in front.
      steady: share of the mean of the diagonal that is added to it. It keeps weights near the float
        ones where few samples say little.
    """
    x = rows.astype(np.float64)
    x -= (1 - _MEAN) * x.mean(axis=-2, keepdims=True)
    sums = np.swapaxes(x, -1, -2) @ x
    mean = np.trace(sums, axis1=-2, axis2=-1) / sums.shape[-1]
    extra = steady * np.maximum(mean, 1e-30)[..., None, None] * np.eye(sums.shape[-1])
    found: Array = sums + extra
    return found


def error_of(sums: Array, moved: Array) -> Array:
    """`[outputs]`: the squared error of what a layer gives, where weights are `moved` by rounding.

    Shapes: `sums` as `products` gives them, `moved` `[outputs, inputs]`.
    """
    error: Array = np.sum(_times(moved, sums) * moved, axis=1)
    return error


def _times(rows: Array, sums: Array) -> Array:
    """`[outputs, inputs]`: every row times the sums of its output."""
    product: Array = rows @ sums if sums.ndim == 2 else np.einsum("oi,oij->oj", rows, sums)
    return product


def best_scales(sums: Array, weights: Array, *, shared: bool) -> Array:
    """`[outputs]` of float32: of some scales, the one whose nearest weights have the least error.

    Args:
      sums: see `products`.
      weights: `[outputs, inputs]`, as in the float model.
      shared: whether the layer has one scale for all outputs.
    """
    largest = np.abs(weights).max(axis=1)
    largest = np.full_like(largest, largest.max()) if shared else largest
    whole = (np.where(largest > 0, largest, LARGEST) / LARGEST).astype(np.float32)
    return best_of(sums, weights, shrunk(whole), shared=shared)


def shrunk(whole: Array) -> Array:
    """`[n, outputs]`: scales that are tried, the largest first, which are `whole`."""
    return np.stack([(whole * np.float32(part)).astype(np.float32) for part in _SHRUNK])


def best_of(
    sums: Array,
    weights: Array,
    tried: Array,
    *,
    shared: bool,
    limits: tuple[int, int] = SYMMETRIC,
) -> Array:
    """As `best_scales`, of the scales `tried`, `[n, outputs]`."""
    errors = np.stack([error_of(sums, nearest(weights, s, limits).real - weights) for s in tried])
    errors = np.broadcast_to(errors.sum(axis=1, keepdims=True), errors.shape) if shared else errors
    best: Array = tried[np.argmin(errors, axis=0), np.arange(tried.shape[1])]
    return best


def round_weights(
    sums: Array,
    weights: Array,
    scales: Array,
    *,
    limits: tuple[int, int] = SYMMETRIC,
    kept: Array | None = None,
) -> Grid:
    """The weights on the grid of `scales` with a small error; never a larger one than the nearest.

    Weights that are 0 stay 0, so that a pattern of zeros holds; others may become 0.

    Args:
      sums: see `products`.
      weights: `[outputs, inputs]`, as in the float model.
      scales: `[outputs]`.
      limits: the least and the largest step from the zero point.
      kept: `[outputs, inputs]`, the weights that stay at the nearest step; None for the zeros.
    """
    start = nearest(weights, scales, limits)
    moving = weights != 0 if kept is None else ~kept & (weights != 0)
    steps = scales[:, None].astype(np.float64)
    now = start.real
    for _ in range(_SWEEPS):
        before = now.copy()
        slope = _times(now - weights, sums)
        for first in range(0, weights.shape[1], _BLOCK):
            _sweep(sums, moving, now, slope, steps, first, limits)
        if np.array_equal(before, now):
            break
    return Grid(np.round(now / steps).astype(np.int16), scales)


def _sweep(
    sums: Array,
    moving: Array,
    now: Array,
    slope: Array,
    steps: Array,
    first: int,
    limits: tuple[int, int],
) -> None:
    """Moves the weights of one block of inputs, in place, and passes the change on to the slope.

    `slope` is half of the derivative of the error by every weight.
    """
    last = min(first + _BLOCK, now.shape[1])
    moved = np.zeros((len(now), last - first))
    inside = slope[:, first:last].copy()
    for place in range(last - first):
        column = first + place
        bend = np.maximum(sums[..., column, column], 1e-30)
        wanted = np.round((now[:, column] - inside[:, place] / bend) / steps[:, 0])
        wanted = np.clip(wanted, *limits) * steps[:, 0]
        moved[:, place] = np.where(moving[:, column], wanted - now[:, column], 0)
        inside += moved[:, place : place + 1] * sums[..., column, first:last]
    now[:, first:last] += moved
    rows = sums[..., first:last, :]
    slope += moved @ rows if sums.ndim == 2 else np.einsum("oi,oij->oj", moved, rows)
