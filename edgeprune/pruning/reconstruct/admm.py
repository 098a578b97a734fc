"""Finds masks of one layer by ADMM: least squares and projection onto the pattern in turn.

Source: Boza, "Fast and Effective Weight Update for Pruned Large Language Models", 2024,
arXiv:2401.02938 (columns scaled to one norm, sparsity raised over the first iterations), and Meng
et al., "ALPS", 2024, arXiv:2406.07831.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from edgeprune.core.mask import Mask, make_mask
from edgeprune.core.pattern import NofM, Pattern
from edgeprune.pruning.reconstruct.gram import Apply, FloatArray
from edgeprune.pruning.reconstruct.statistics import Problem

ITERATIONS = 30
"""Iterations for one mask."""
PENALTIES = (0.1, 0.3, 1.0)
"""Penalties, each for an equal part of the iterations; columns are scaled to energy 1."""
PATH_ITERATIONS = 6
"""Iterations for each mask of a path of rising sparsities.

On the layers of two networks of scripts/bench_accuracy, the error of such a mask after least
squares was 0.96 to 1.05 times that of `ITERATIONS` from the start, at 0.3 to 0.95 zeros; where
columns are nearly dependent (random mixtures of 40 to 120), 1.7 times at 0.3 and 1.1 at 0.75.
"""
PATH_PENALTY = 1.0
"""Penalty along a path; with 0.3 the errors were up to 1.4 times as large."""
PATH_RISE = 1.5
"""The sparsity of a step of a path is reached after `PATH_ITERATIONS / PATH_RISE` iterations."""


class Admm:
    """The state of ADMM on one layer, in float32, with columns scaled to energy 1.

    Args:
      problem: a problem whose Gram matrices are positive definite.
      dense: device matrix `[out, in]` to start from.
      row_weights: `[out]`, the weight of each output's error.
    """

    def __init__(self, problem: Problem, dense: FloatArray, row_weights: FloatArray) -> None:
        scales = [np.sqrt(gram.diagonal) for gram in problem.grams]
        scale = np.repeat(np.stack(scales), len(dense) // len(scales), axis=0)
        self._rows = [problem.rows(group) for group in range(len(scales))]
        self._grams = [
            gram.scaled(one).single() for gram, one in zip(problem.grams, scales, strict=True)
        ]
        self._cross = (problem.cross / scale).astype(np.float32)
        self._weights = row_weights[:, None].astype(np.float32)
        self._kept = (dense * scale).astype(np.float32)
        self._dual = np.zeros_like(self._kept)
        self._penalty = 0.0
        self._inverses: list[Apply] = []

    def step(self, pattern: Pattern, sparsity: float, penalty: float) -> Mask:
        """One iteration; returns the mask that it ends with."""
        self._set_penalty(penalty)
        right = self._cross + np.float32(penalty) * (self._kept - self._dual)
        free = [apply(right[at]) for at, apply in zip(self._rows, self._inverses, strict=True)]
        moved = np.concatenate(free) + self._dual
        mask = make_mask(np.square(moved * self._weights), pattern, sparsity)
        self._kept = moved * mask
        self._dual = moved - self._kept
        return mask

    def _set_penalty(self, penalty: float) -> None:
        if penalty == self._penalty:
            return
        self._dual *= np.float32(self._penalty / penalty)
        self._inverses = [gram.damped(penalty).inverse() for gram in self._grams]
        self._penalty = penalty


def find_mask(
    problem: Problem,
    dense: FloatArray,
    row_weights: FloatArray,
    pattern: Pattern,
    sparsity: float,
) -> Mask:
    """The mask `[out, in]` after `ITERATIONS`, whose sparsity rises over the first half of them.

    Args:
      problem: a problem whose Gram matrices are positive definite.
      dense: device matrix `[out, in]` of the dense model.
      row_weights: `[out]`, the weight of each output's error.
      pattern: the pattern of the zeros.
      sparsity: fraction of zeros, above 0.
    """
    state = Admm(problem, dense, row_weights)
    mask = np.ones(dense.shape, bool)
    for iteration in range(ITERATIONS):
        penalty = PENALTIES[iteration * len(PENALTIES) // ITERATIONS]
        mask = state.step(pattern, _ramped(pattern, sparsity, iteration / ITERATIONS), penalty)
    return mask


def masks_along(
    problem: Problem,
    dense: FloatArray,
    row_weights: FloatArray,
    pattern: Pattern,
    sparsities: Sequence[float],
) -> Iterator[Mask]:
    """The masks at rising sparsities, each found from the one before in `PATH_ITERATIONS`.

    Arguments are those of `find_mask`; the pattern allows any sparsity.
    """
    state = Admm(problem, dense, row_weights)
    before = 0.0
    for sparsity in sparsities:
        mask = np.ones(dense.shape, bool)
        for iteration in range(PATH_ITERATIONS):
            part = min(1.0, PATH_RISE * (iteration + 1) / PATH_ITERATIONS)
            mask = state.step(pattern, before + part * (sparsity - before), PATH_PENALTY)
        before = sparsity
        yield mask


def _ramped(pattern: Pattern, sparsity: float, progress: float) -> float:
    """The sparsity at a fraction of all iterations: a cubic ramp over the first half of them."""
    if isinstance(pattern, NofM):
        return sparsity
    left = max(0.0, 1 - 2 * progress)
    return sparsity * (1 - left**3)
