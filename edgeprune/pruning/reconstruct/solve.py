"""Finds mask and weights of one layer: `admm` chooses the mask, `refit` the weights that are kept.

The objective is the mean squared distance between the layer's outputs and their targets, plus a
small multiple of the squared distance between the weights and the dense ones, over matrices with
the pattern.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from threadpoolctl import threadpool_limits

from edgeprune.core.mask import Mask, make_mask
from edgeprune.core.pattern import Channels, Pattern
from edgeprune.pruning.reconstruct.admm import find_mask, masks_along
from edgeprune.pruning.reconstruct.gram import FloatArray
from edgeprune.pruning.reconstruct.refit import refit
from edgeprune.pruning.reconstruct.statistics import Problem

DAMPING = 1e-3
"""Weight of the distance to the dense weights, relative to the mean energy of the columns."""
WIDE = 1024
"""Number of columns from which on float32 is used, which takes half the time, and several threads,
which on smaller matrices wait for each other longer than they compute."""


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
) -> Solution:
    """Prunes a layer: the better of two masks, by magnitude and by ADMM, with refitted weights.

    Args:
      problem: the layer's least-squares problem.
      dense: device matrix `[out, in]` of the dense model.
      row_weights: `[out]`, the weight of each output's error.
      pattern: the pattern of the zeros.
      sparsity: fraction of zeros.
    """
    with _threads(dense):
        damped, dense = _prepared(problem, dense)
        candidates = [make_mask(np.abs(dense), pattern, sparsity)]
        if sparsity and not isinstance(pattern, Channels):
            candidates.append(find_mask(damped, dense, row_weights, pattern, sparsity))
        solutions = [
            Solution(matrix, mask, relative_error(problem, matrix, row_weights))
            for mask in candidates
            for matrix in (refit(damped, mask, dense),)
        ]
    return min(solutions, key=lambda solution: solution.error)


def errors_along(
    problem: Problem,
    dense: FloatArray,
    row_weights: FloatArray,
    pattern: Pattern,
    sparsities: Sequence[float],
) -> tuple[float, ...]:
    """What pruning a layer to rising sparsities leaves, as `relative_error`, 0 at sparsity 0.

    Masks are found one from the other, which takes a tenth of the time of `solve_layer` for each.
    The other arguments are those of `solve_layer`; the pattern allows any sparsity.
    """
    with _threads(dense):
        damped, dense = _prepared(problem, dense)
        rising = [sparsity for sparsity in sparsities if sparsity]
        masks = masks_along(damped, dense, row_weights, pattern, rising)
        left = [relative_error(problem, refit(damped, mask, dense), row_weights) for mask in masks]
    return (*(0.0,) * (len(sparsities) - len(rising)), *left)


def _threads(dense: FloatArray) -> threadpool_limits:
    """The context that a layer is solved in: one thread of linear algebra, unless it is wide."""
    return threadpool_limits(None if dense.shape[1] >= WIDE else 1)


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


def _prepared(problem: Problem, dense: FloatArray) -> tuple[Problem, FloatArray]:
    """The damped problem and the dense matrix, in float32 where the layer is wide."""
    damped = _damped(problem, dense)
    if dense.shape[1] < WIDE:
        return damped, dense
    return damped.single(), dense.astype(np.float32)


def _damped(problem: Problem, dense: FloatArray) -> Problem:
    """Adds a penalty on the distance to the dense weights, which makes every solution unique."""
    energies = np.array([float(gram.diagonal.mean()) for gram in problem.grams])
    pulls = np.where(energies > 0, DAMPING * energies, 1.0)
    return replace(
        problem,
        grams=tuple(gram.damped(pull) for gram, pull in zip(problem.grams, pulls, strict=True)),
        cross=problem.cross + np.repeat(pulls, len(dense) // len(pulls))[:, None] * dense,
    )
