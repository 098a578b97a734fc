"""Finds mask and weights of one layer: ADMM chooses the mask, least squares fits the kept weights.

The objective is the mean squared distance between the layer's outputs and their targets, plus a
small multiple of the squared distance between the weights and the dense ones, over matrices with
the pattern.

Source: ADMM with projection onto the pattern as in Boza, "Fast and Effective
Weight Update for Pruned Large Language Models", 2024, arXiv:2401.02938 (columns scaled to one norm,
sparsity raised over the first iterations), and Meng et al., "ALPS", 2024, arXiv:2406.07831.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from threadpoolctl import threadpool_limits

from edgeprune.core.mask import Mask, make_mask
from edgeprune.core.pattern import Channels, NofM, Pattern
from edgeprune.pruning.reconstruct.gram import FloatArray, Gram
from edgeprune.pruning.reconstruct.statistics import Problem

DAMPING = 1e-3
"""Weight of the distance to the dense weights, relative to the mean energy of the columns."""
ITERATIONS = 30
"""ADMM iterations."""
PENALTIES = (0.1, 0.3, 1.0)
"""ADMM penalties, each for an equal part of the iterations; columns are scaled to energy 1."""
WIDE = 1024
"""Number of columns from which on float32 is used, which takes half the time."""
EXACT_WORK = 2e10
"""Most floating-point operations for which least squares is solved exactly, support by support."""
CG_TOLERANCE = 1e-4
"""Residual, relative to the right-hand side, at which conjugate gradients stop."""
MAX_STEPS = 60
"""Most steps of conjugate gradients."""


@dataclass(frozen=True)
class Solution:
    """A layer's pruned device matrix and its error."""

    matrix: FloatArray
    """`[out, in]`, zero where the mask is False."""
    mask: Mask
    """`[out, in]`."""
    error: float
    """As `relative_error`."""


def solve_layer(
    problem: Problem,
    dense: FloatArray,
    row_weights: FloatArray,
    pattern: Pattern,
    sparsity: float,
    iterations: int = ITERATIONS,
) -> Solution:
    """Prunes a layer: the better of two masks, by magnitude and by ADMM, with refitted weights.

    Args:
      problem: the layer's least-squares problem.
      dense: device matrix `[out, in]` of the dense model.
      row_weights: `[out]`, the weight of each output's error.
      pattern: the pattern of the zeros.
      sparsity: fraction of zeros.
      iterations: number of ADMM iterations.
    """
    damped = _damped(problem, dense)
    if dense.shape[1] >= WIDE:
        damped, dense = damped.single(), dense.astype(np.float32)
    candidates = [make_mask(np.abs(dense), pattern, sparsity)]
    if sparsity and not isinstance(pattern, Channels):
        candidates.append(_admm_mask(damped, dense, row_weights, pattern, sparsity, iterations))
    solutions = [
        Solution(matrix, mask, relative_error(problem, matrix, row_weights))
        for mask in candidates
        for matrix in (refit(damped, mask, dense),)
    ]
    return min(solutions, key=lambda solution: solution.error)


def relative_error(problem: Problem, matrix: FloatArray, row_weights: FloatArray) -> float:
    """The squared distance from the targets over the energy of the targets.

    Args:
      problem: the layer's least-squares problem.
      matrix: device matrix `[out, in]`.
      row_weights: `[out]`, the weight of each output; it enters as its square.
    """
    weights = row_weights**2
    energy = float(weights @ problem.energy)
    return float(weights @ problem.errors(matrix)) / energy if energy > 0 else 0.0


def _damped(problem: Problem, dense: FloatArray) -> Problem:
    """Adds a penalty on the distance to the dense weights, which makes every solution unique."""
    energies = np.array([float(gram.diagonal.mean()) for gram in problem.grams])
    pulls = np.where(energies > 0, DAMPING * energies, 1.0)
    return replace(
        problem,
        grams=tuple(gram.damped(pull) for gram, pull in zip(problem.grams, pulls, strict=True)),
        cross=problem.cross + np.repeat(pulls, len(dense) // len(pulls))[:, None] * dense,
    )


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
    supports, members = np.unique(mask, axis=0, return_inverse=True)
    kept = [np.flatnonzero(support) for support in supports]
    work = gram.inverse_work / mask.shape[1] ** 3 * sum(float(k.size) ** 3 for k in kept)
    if work > EXACT_WORK:
        return _conjugate_gradients(gram, cross, mask, start)
    matrix = np.zeros(mask.shape)
    # On matrices this small, threads cost more in synchronisation than they gain.
    with threadpool_limits(1):
        for number, columns in enumerate(kept):
            rows = np.flatnonzero(members.ravel() == number)
            if columns.size:
                chosen = np.ix_(rows, columns)
                matrix[chosen] = gram.kept(columns).inverse()(cross[chosen])
    return matrix


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


def _admm_mask(
    problem: Problem,
    dense: FloatArray,
    row_weights: FloatArray,
    pattern: Pattern,
    sparsity: float,
    iterations: int,
) -> Mask:
    """The mask after the last ADMM iteration."""
    scales = [np.sqrt(gram.diagonal) for gram in problem.grams]
    scale = np.repeat(np.stack(scales), len(dense) // len(scales), axis=0)
    grams = [gram.scaled(one) for gram, one in zip(problem.grams, scales, strict=True)]
    cross = problem.cross / scale
    kept = dense * scale
    dual = np.zeros_like(kept)
    mask = np.ones(dense.shape, bool)
    weights = row_weights[:, None]
    each = iterations // len(PENALTIES)
    for stage, penalty in enumerate(PENALTIES):
        inverses = [gram.damped(penalty).inverse() for gram in grams]
        dual *= PENALTIES[max(stage - 1, 0)] / penalty
        for iteration in range(stage * each, (stage + 1) * each):
            right = cross + penalty * (kept - dual)
            free = [apply(right[problem.rows(g)]) for g, apply in enumerate(inverses)]
            moved = np.concatenate(free) + dual
            mask = make_mask(
                (moved * weights) ** 2, pattern, _ramped(pattern, sparsity, iteration / iterations)
            )
            kept = moved * mask
            dual = moved - kept
    return mask


def _ramped(pattern: Pattern, sparsity: float, progress: float) -> float:
    """The sparsity at a fraction of all iterations: a cubic ramp over the first half of them."""
    if isinstance(pattern, NofM):
        return sparsity
    left = max(0.0, 1 - 2 * progress)
    return sparsity * (1 - left**3)
