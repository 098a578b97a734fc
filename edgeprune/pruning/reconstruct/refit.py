"""Fits the weights that a mask keeps, by least squares.

Every row of a device matrix has a linear system of its own, the part of the Gram matrix that it
keeps. Where a row keeps more than half of the columns, the smaller system of those that it drops
gives the same weights: with `P` the inverse of the Gram matrix, `w = cross @ P` the weights that
keep everything, and `S` the columns dropped,

    kept weights = w - w[S] @ inv(P[S, S]) @ P[S, :]

Small systems are solved many at a time.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from edgeprune.core.mask import Mask
from edgeprune.pruning.reconstruct.gram import FloatArray, Gram, WholeGram
from edgeprune.pruning.reconstruct.statistics import Problem

EXACT_WORK = 2e10
"""Most floating-point operations for which least squares is solved exactly, support by support."""
CG_TOLERANCE = 1e-4
"""Residual, relative to the right-hand side, at which conjugate gradients stop."""
MAX_STEPS = 60
"""Most steps of conjugate gradients."""
SMALL = 96
"""Most columns of a system that is solved together with others."""
TOGETHER = 1 << 21
"""Most numbers in all systems that are solved together, which bounds their memory to 16 MiB."""

Indices = npt.NDArray[np.intp]


def refit(problem: Problem, mask: Mask, start: FloatArray) -> FloatArray:
    """The least-squares weights `[r, n]` on the kept entries of a mask; all others are 0.

    Args:
      problem: a problem whose Gram matrices are positive definite.
      mask: `[r, n]`.
      start: `[r, n]`, the initial weights if the problem is too large to be solved exactly.
    """
    matrix = np.zeros(mask.shape)
    for group, gram in enumerate(problem.grams):
        rows = problem.rows(group)
        matrix[rows] = _refit_group(gram, problem.cross[rows], mask[rows], start[rows])
    return matrix


def _refit_group(gram: Gram, cross: FloatArray, mask: Mask, start: FloatArray) -> FloatArray:
    """Solves for one group; rows that keep the same columns are solved together."""
    supports, owners = _supports(mask)
    kept = supports.sum(axis=1)
    sizes = np.minimum(kept, mask.shape[1] - kept) if isinstance(gram, WholeGram) else kept
    work = gram.inverse_work / mask.shape[1] ** 3 * float((sizes.astype(float) ** 3).sum())
    if work > EXACT_WORK:
        return _conjugate_gradients(gram, cross, mask, start)
    # On matrices this small, threads cost more in synchronisation than they gain.
    with threadpool_limits(1):
        if isinstance(gram, WholeGram):
            return _solve_whole(gram, cross, mask)
        return _solve_one_by_one(gram, cross, supports, owners)


def _solve_whole(gram: WholeGram, cross: FloatArray, mask: Mask) -> FloatArray:
    """The weights by the system of the columns kept, or that of the columns dropped."""
    matrix = np.zeros(mask.shape)
    most = 2 * mask.sum(axis=1) > mask.shape[1]
    matrix[~most] = solve_parts(gram, cross[~most], mask[~most])
    if most.any():
        inverse = gram.inverse_matrix()
        everything = cross[most] @ inverse
        pulled = solve_parts(WholeGram(inverse), everything, ~mask[most])
        matrix[most] = np.where(mask[most], everything - pulled @ inverse, 0.0)
    return matrix


def solve_parts(gram: WholeGram, right: FloatArray, mask: Mask) -> FloatArray:
    """For every row, the rows and columns of a matrix that a mask marks, inverted, times the row.

    Args:
      gram: `[n, n]`, positive definite.
      right: `[r, n]`.
      mask: `[r, n]`; a row may mark nothing.

    Returns:
      `[r, n]`, zero where the mask is False.
    """
    if not len(mask):
        return np.zeros(mask.shape)
    supports, owners = _supports(mask)
    small = supports.sum(axis=1) <= SMALL
    solved = _solve_one_by_one(gram, right, supports, owners, ~small)
    for rows, columns, valid in _batches(supports, owners, small):
        systems = gram.matrix[columns[:, :, None], columns[:, None, :]]
        systems *= valid[:, :, None] & valid[:, None, :]
        places = np.arange(columns.shape[1])
        systems[:, places, places] += ~valid
        given = right[rows[:, None, :], columns[:, :, None]] * valid[:, :, None]
        found = np.linalg.solve(systems, given)
        chosen, column, row = np.nonzero(np.broadcast_to(valid[:, :, None], found.shape))
        solved[rows[chosen, row], columns[chosen, column]] = found[chosen, column, row]
    return solved


def _supports(mask: Mask) -> tuple[Mask, Indices]:
    """The distinct rows `[s, n]` of a mask `[r, n]`, and for every row which of them it is."""
    packed = np.packbits(mask, axis=1)
    _, first, owners = np.unique(packed, axis=0, return_index=True, return_inverse=True)
    return mask[first], owners.ravel()


def _solve_one_by_one(
    gram: Gram,
    right: FloatArray,
    supports: Mask,
    owners: Indices,
    chosen: Mask | None = None,
) -> FloatArray:
    """As `solve_parts`, for the supports `chosen`, `[s]`; all of them if None."""
    solved = np.zeros((len(owners), supports.shape[1]))
    for number, support in enumerate(supports):
        columns = np.flatnonzero(support)
        if columns.size and (chosen is None or chosen[number]):
            at = np.ix_(np.flatnonzero(owners == number), columns)
            solved[at] = gram.kept(columns).solve(right[at])
    return solved


def _batches(
    supports: Mask, owners: Indices, chosen: Mask
) -> Iterator[tuple[Indices, Indices, Mask]]:
    """Batches of supports of similar size: their rows, their columns, and which of these count.

    Yields:
      `(rows [b, m], columns [b, k], valid [b, k])`; a support with fewer rows names one of them
      several times, and one with fewer columns has others at its end that are not valid.
    """
    sizes, counts = supports.sum(axis=1), np.bincount(owners, minlength=len(supports))
    order = np.lexsort((sizes, counts))
    order = order[chosen[order] & (sizes[order] > 0)]
    members = np.argsort(owners, kind="stable")
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    while order.size:
        width = np.maximum.accumulate(sizes[order])
        rows = np.maximum.accumulate(counts[order])
        filled = np.arange(1, order.size + 1) * width * (width + rows)
        size = max(1, int(np.searchsorted(filled, TOGETHER, side="right")))
        batch, order = order[:size], order[size:]
        most, wide = int(rows[size - 1]), int(width[size - 1])
        nth = np.minimum(np.arange(most), counts[batch, None] - 1)
        columns = np.argsort(~supports[batch], axis=1, kind="stable")[:, :wide]
        yield members[starts[batch, None] + nth], columns, np.arange(wide) < sizes[batch, None]


def _conjugate_gradients(
    gram: Gram, cross: FloatArray, mask: Mask, start: FloatArray
) -> FloatArray:
    """Least squares on all supports at once, to a residual of `CG_TOLERANCE`."""
    scale = 1 / gram.diagonal
    matrix = start * mask
    residual = (cross - gram.times(matrix)) * mask
    goal = CG_TOLERANCE * np.linalg.norm(cross * mask)
    toward = residual * scale
    product = np.einsum("rn,rn->r", residual, toward)
    for _ in range(MAX_STEPS):
        if np.linalg.norm(residual) <= goal:
            break
        image = gram.times(toward) * mask
        curvature = np.einsum("rn,rn->r", toward, image)
        step = np.divide(product, curvature, where=curvature > 0, out=np.zeros_like(product))
        matrix += step[:, None] * toward
        residual -= step[:, None] * image
        preconditioned = residual * scale
        before, product = product, np.einsum("rn,rn->r", residual, preconditioned)
        keep = np.divide(product, before, where=before > 0, out=np.zeros_like(product))
        toward = preconditioned + keep[:, None] * toward
    return matrix
