"""Masks: which weights of a device matrix stay, given scores, a pattern and a sparsity.

True keeps a weight. Units (single weights, tiles, whole rows) are pruned in one fixed order: lowest
mean score first, of equal scores the smaller unit first, and of equal sizes the higher index first.
So masks are deterministic, nested (a higher sparsity keeps a subset of what a lower one keeps) and
idempotent.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeprune.core.errors import PatternError
from edgeprune.core.pattern import Block, Channels, NofM, Pattern, Unstructured

Mask = npt.NDArray[np.bool_]
Scores = npt.NDArray[np.floating[Any]]


def make_mask(scores: Scores, pattern: Pattern, sparsity: float) -> Mask:
    """Keeps the best-scoring units of a pattern.

    The number of zeros is the one nearest to `sparsity * scores.size` that whole units allow, so it
    is exact to within one unit; at least one unit is always kept. `NofM` has its own sparsity.

    Args:
      scores: `[out, in]`, finite; the lowest are pruned first.
      pattern: see `pattern`.
      sparsity: fraction of zeros, 0 <= sparsity < 1. For `NofM` 0 (keep all) or `1 - n / m`.

    Returns:
      bool `[out, in]`. Example, Block(1, 2) at 0.5: scores [[1, 1, 9, 9]] give [[F, F, T, T]].

    Raises:
      PatternError: scores are not a matrix, or the sparsity is out of range or not the pattern's.
    """
    if scores.ndim != 2 or scores.size == 0:
        raise PatternError(f"Expected scores [out, in]. Received: shape {list(scores.shape)}.")
    check_sparsity(pattern, sparsity)
    if sparsity == 0:
        return np.ones(scores.shape, bool)
    match pattern:
        case Unstructured():
            return _tile_mask(scores, 1, 1, sparsity)
        case Block(out, in_):
            return _tile_mask(scores, out, in_, sparsity)
        case NofM(n, m):
            return _n_of_m_mask(scores, n, m)
        case Channels(multiple):
            return _channel_mask(scores, multiple, sparsity)


def check_sparsity(pattern: Pattern, sparsity: float) -> None:
    """Checks that a pattern can have a sparsity.

    Raises:
      PatternError: outside [0, 1), not a number, or not the fixed one of an `NofM`.
    """
    if not 0 <= sparsity < 1:
        raise PatternError(
            f"`sparsity` is the fraction of zeros, 0 <= sparsity < 1. Received: {sparsity}."
        )
    if isinstance(pattern, NofM) and sparsity and not math.isclose(sparsity, pattern.sparsity):
        raise PatternError(
            f"{pattern} has sparsity {pattern.sparsity:g} by definition. Received: {sparsity:g}. "
            f"Leave the sparsity out, or give {pattern.sparsity:g}."
        )


def _tile_mask(scores: Scores, out: int, in_: int, sparsity: float) -> Mask:
    """Prunes tiles of `out` x `in_`; tiles at the lower and right edge may be smaller."""
    if out == in_ == 1:
        count = _nearest_count(sparsity * scores.size, 1, scores.size)
        return ~_lowest(scores.ravel(), count).reshape(scores.shape)
    row_starts = np.arange(0, scores.shape[0], out)
    column_starts = np.arange(0, scores.shape[1], in_)
    sums = np.add.reduceat(np.add.reduceat(scores, row_starts, axis=0), column_starts, axis=1)
    heights = np.diff(row_starts, append=scores.shape[0])
    widths = np.diff(column_starts, append=scores.shape[1])
    sizes = np.outer(heights, widths)
    kept = _keep_best((sums / sizes).ravel(), sizes.ravel(), sparsity * scores.size)
    grid = kept.reshape(sizes.shape)
    return np.repeat(np.repeat(grid, heights, axis=0), widths, axis=1)


def _keep_best(scores: Scores, sizes: npt.NDArray[np.int_], zeros: float) -> Mask:
    """Prunes units in order until the number of zero weights is as near to `zeros` as possible.

    Args:
      scores: `[units]`, the mean score of each unit.
      sizes: `[units]`, how many weights each unit holds.
      zeros: the number of zero weights wanted.
    """
    if sizes.min() == sizes.max():
        return ~_lowest(scores, _nearest_count(zeros, int(sizes[0]), scores.size))
    # The last key is the primary one. Of equal scores smaller units go first: pruning a pruned
    # matrix again, whose zeroed units all score 0, then prunes the same number of them.
    order = np.lexsort((-np.arange(scores.size), sizes, scores))
    pruned_after = np.concatenate([[0], np.cumsum(sizes[order])])[:-1]
    count = int(np.argmin(np.abs(pruned_after - zeros)))
    kept = np.ones(scores.size, bool)
    kept[order[:count]] = False
    return kept


def _nearest_count(zeros: float, size: int, units: int) -> int:
    """How many of so many units of one size hold nearest to `zeros` weights; of two the fewer."""
    below = min(int(zeros / size), units - 1)
    near = range(max(below - 1, 0), min(below + 2, units))
    return min(near, key=lambda count: abs(count * size - zeros))


def _lowest(scores: Scores, count: int) -> Mask:
    """Marks the `count` lowest of `[units]` scores; of equal scores those of the highest indices.

    As a stable sort would, in time proportional to the number of scores.
    """
    if not count:
        return np.zeros(scores.size, bool)
    limit = np.partition(scores, count - 1)[count - 1]
    marked: Mask = scores < limit
    ties = np.flatnonzero(scores == limit)
    marked[ties[ties.size - (count - int(marked.sum())) :]] = True
    return marked


def _pruning_order(scores: Scores) -> npt.NDArray[np.intp]:
    """Indices along the last axis, lowest score first; of equal scores the higher index first."""
    size = scores.shape[-1]
    return size - 1 - np.argsort(scores[..., ::-1], axis=-1, kind="stable")


def _n_of_m_mask(scores: Scores, n: int, m: int) -> Mask:
    rows, columns = scores.shape
    whole = columns - columns % m
    kept = np.ones(scores.shape, bool)
    groups = scores[:, :whole].reshape(rows, -1, m)
    kept[:, :whole] = _keep_top(groups, n).reshape(rows, whole)
    if whole < columns:
        rest = columns - whole
        kept[:, whole:] = _keep_top(scores[:, whole:], math.ceil(rest * n / m))
    return kept


def _keep_top(scores: Scores, count: int) -> Mask:
    """Keeps the `count` highest scores along the last axis."""
    kept = np.ones(scores.shape, bool)
    pruned = _pruning_order(scores)[..., : scores.shape[-1] - count]
    np.put_along_axis(kept, pruned, False, axis=-1)
    return kept


def _channel_mask(scores: Scores, multiple: int, sparsity: float) -> Mask:
    rows, columns = scores.shape
    kept = kept_channels(rows, multiple, sparsity)
    return np.broadcast_to(_keep_top(scores.mean(axis=1), kept)[:, None], (rows, columns)).copy()


def kept_channels(channels: int, multiple: int, sparsity: float) -> int:
    """The number of output channels kept: the allowed count nearest to `(1 - sparsity) * channels`.

    Allowed are the multiples of `multiple` below `channels`, and `channels` itself; ties go to the
    larger count. Example: 64 channels with multiple 16 at sparsity 0.5 keep 32.
    """
    allowed = [*range(multiple, channels, multiple), channels]
    wanted = (1 - sparsity) * channels
    nearest: int = min(reversed(allowed), key=lambda count: abs(count - wanted))
    return nearest
