"""How far values that Keras computes are from those of the interpreter."""

from __future__ import annotations

import numpy as np

from edgeprune.core.arrays import Array

MOST_DIFFERENCE = 1e-3
"""By how much an output may differ, of the largest value in it."""
MOST_FLIPPED = 0.01
"""Share of whole numbers that may differ: rounding decides between values that are nearly equal."""


def difference(ours: Array, theirs: Array) -> float:
    """By how much values differ, of the largest one; infinite where their number differs.

    Of whole numbers, and of values that are not finite, 0 or infinite: as many as `MOST_FLIPPED`
    may differ.
    """
    if ours.size != theirs.size:
        return float("inf")
    first, second = ours.reshape(-1), theirs.reshape(-1)
    if theirs.dtype.kind != "f":
        return 0.0 if np.mean(first != second) <= MOST_FLIPPED else float("inf")
    finite = np.isfinite(first) & np.isfinite(second)
    same = finite | (first == second) | (np.isnan(first) & np.isnan(second))
    if not same.all():
        return float("inf")
    apart = np.abs(first[finite].astype(np.float64) - second[finite])
    largest = np.abs(second[finite]).max(initial=0.0)
    return float(apart.max(initial=0.0) / (largest or 1.0))


def said(size: float) -> str:
    """How a difference is named."""
    return f"in Keras its values differ by {size:.2g} of the largest"
