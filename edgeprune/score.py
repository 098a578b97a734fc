"""Scores: how much each weight matters, on the device matrix; the lowest are pruned first."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edgeprune.errors import ModelError
from edgeprune.layout import Array


def magnitude(matrix: Array) -> npt.NDArray[np.float64]:
    """Scores each weight by its absolute value; needs no data.

    Args:
      matrix: `[out, in]`, any real type.

    Returns:
      float64 `[out, in]`, non-negative.

    Raises:
      ModelError: a weight is not finite.

    Source: Zhu and Gupta, "To prune, or not to prune", 2017, arXiv:1710.01878.
    """
    scores = np.abs(matrix.astype(np.float64))
    if not np.isfinite(scores).all():
        raise ModelError(
            "Expected finite weights. Received: "
            f"{int((~np.isfinite(scores)).sum())} NaN or infinite values. Retrain the layer, or "
            "leave it out with --skip."
        )
    return scores
