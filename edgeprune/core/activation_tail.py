"""How far the range of an activation in an int8 file goes beyond nearly all of its values."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

SHARE = 0.999
"""Fraction of a tensor's absolute values that lies within its `quantile`."""


@dataclass(frozen=True)
class ActivationTail:
    """The range that an int8 tensor can hold, and what nearly all of its values need."""

    tensor: str
    low: float
    high: float
    quantile: float
    """`SHARE` of the absolute values on calibration samples are at most this, in real numbers; at
    least half a step, since smaller values are rounded to zero."""


def tails_in(manifest: Mapping[str, Any] | None) -> tuple[ActivationTail, ...]:
    """What a manifest says of the activations of its int8 file.

    Rows that edgeprune did not write are left out.
    """
    int8 = (manifest or {}).get("int8")
    rows = int8.get("activations") if isinstance(int8, dict) else None
    return tuple(filter(None, map(_row, rows if isinstance(rows, list) else ())))


def _row(row: Any) -> ActivationTail | None:
    if not isinstance(row, dict) or not isinstance(row.get("tensor"), str):
        return None
    numbers = [row.get(key) for key in ("low", "high", "quantile")]
    if not all(isinstance(value, int | float) and math.isfinite(value) for value in numbers):
        return None
    return ActivationTail(row["tensor"], *map(float, numbers))  # type: ignore[arg-type]
