"""Scores: the importance of each weight of the device matrix; the lowest are pruned first."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edgeprune.core.arrays import Array
from edgeprune.core.errors import ModelError
from edgeprune.core.pattern import Block


def magnitude(matrix: Array) -> npt.NDArray[np.float64]:
    """Scores each weight by its absolute value.

    Args:
      matrix: `[out, in]`, any real dtype.

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


def tile_maximum(scores: npt.NDArray[np.float64], block: Block) -> npt.NDArray[np.float64]:
    """Replaces every score by the highest of its tile, so that a tile's mean is its maximum.

    Args:
      scores: float64 `[out, in]`.
      block: the tiles, from row 0 and column 0 as in `mask`, smaller at the far edges.

    Returns:
      float64 `[out, in]`.
    """
    tiled = scores
    for axis, size in enumerate((block.out, block.in_)):
        starts = np.arange(0, scores.shape[axis], size)
        sizes = np.diff(starts, append=scores.shape[axis])
        tiled = np.repeat(np.maximum.reduceat(tiled, starts, axis=axis), sizes, axis=axis)
    return tiled
