"""The samples that one shot looks at."""

from __future__ import annotations

import numpy as np

from edgeprune.layout import Array

MAX_SAMPLES = 1024
"""Of more samples than that, as many are taken, evenly spread."""
FEW_SAMPLES = 32
"""Fewer samples than that are warned of."""


def calibration(x: list[Array]) -> list[Array]:
    """The samples to look at, of one array `[n, ...]` per input."""
    count = len(x[0])
    if count <= MAX_SAMPLES:
        return x
    chosen = np.arange(MAX_SAMPLES) * count // MAX_SAMPLES
    return [array[chosen] for array in x]
