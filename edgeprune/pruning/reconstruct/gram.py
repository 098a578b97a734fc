"""Gram matrices of columns: stored whole, or as factors where there are few positions."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.linalg

from edgeprune.core.arrays import Array

FloatArray = npt.NDArray[np.floating[Any]]
"""float64, or float32 where a problem is wide."""
Apply = Callable[[FloatArray], FloatArray]
"""A linear map from rows `[r, n]` to rows `[r, n]`."""


class Gram(ABC):
    """A symmetric matrix `[n, n]`: the mean of `column @ column.T`, plus a diagonal damping."""

    @property
    @abstractmethod
    def diagonal(self) -> FloatArray:
        """The diagonal, `[n]`."""

    @abstractmethod
    def times(self, rows: FloatArray) -> FloatArray:
        """The product `rows @ gram`, `[r, n]`."""

    @abstractmethod
    def damped(self, amount: float) -> Gram:
        """The matrix with `amount` added to the diagonal."""

    @abstractmethod
    def scaled(self, scale: FloatArray) -> Gram:
        """The matrix with rows and columns divided by `scale`, `[n]`, its damping included."""

    @abstractmethod
    def inverse(self) -> Apply:
        """A function that multiplies rows by the inverse, made to be called many times.

        The matrix must be positive definite.
        """

    @abstractmethod
    def solve(self, rows: FloatArray) -> FloatArray:
        """The product of rows `[r, n]` and the inverse, once; positive definite matrices only."""

    @abstractmethod
    def single(self) -> Gram:
        """The matrix in float32."""

    @abstractmethod
    def kept(self, columns: Array) -> Gram:
        """The submatrix of some columns, given by their indices `[k]`."""

    @property
    @abstractmethod
    def inverse_work(self) -> float:
        """Approximate number of floating-point operations of `inverse`."""


@dataclass(frozen=True)
class WholeGram(Gram):
    """A Gram matrix stored as such."""

    matrix: FloatArray
    """`[n, n]`."""

    @property
    def diagonal(self) -> FloatArray:
        """The diagonal, `[n]`."""
        return np.diagonal(self.matrix)

    def times(self, rows: FloatArray) -> FloatArray:
        """The product `rows @ gram`, `[r, n]`."""
        return rows @ self.matrix

    def damped(self, amount: float) -> Gram:
        """The matrix with `amount` added to the diagonal."""
        matrix = self.matrix.copy()
        matrix[np.diag_indices_from(matrix)] += amount
        return WholeGram(matrix)

    def scaled(self, scale: FloatArray) -> Gram:
        """The matrix with rows and columns divided by `scale`, `[n]`."""
        return WholeGram(self.matrix / scale[:, None] / scale)

    def single(self) -> Gram:
        """The matrix in float32."""
        return WholeGram(self.matrix.astype(np.float32))

    def inverse(self) -> Apply:
        """Multiplies by the inverse matrix, which takes a fraction of the time of two factors."""
        inverse = self.inverse_matrix()
        return lambda rows: rows @ inverse

    def inverse_matrix(self) -> FloatArray:
        """The inverse, `[n, n]`; the matrix must be positive definite."""
        return self.solve(np.eye(len(self.matrix), dtype=self.matrix.dtype))

    def solve(self, rows: FloatArray) -> FloatArray:
        """Solves with the Cholesky factors."""
        factor = scipy.linalg.cho_factor(self.matrix, check_finite=False)
        solved: FloatArray = scipy.linalg.cho_solve(factor, rows.T, check_finite=False).T
        return solved

    def kept(self, columns: Array) -> Gram:
        """The submatrix of some columns, given by their indices `[k]`."""
        return WholeGram(self.matrix[np.ix_(columns, columns)])

    @property
    def inverse_work(self) -> float:
        """`n**3 / 3`, the Cholesky factorisation."""
        return len(self.matrix) ** 3 / 3


@dataclass(frozen=True)
class FactoredGram(Gram):
    """A Gram matrix stored as `factor.T @ factor + diag(damping)`, with `positions < n`."""

    factor: FloatArray
    """`[positions, n]`."""
    damping: FloatArray
    """`[n]`."""

    @property
    def diagonal(self) -> FloatArray:
        """The diagonal, `[n]`."""
        squares: FloatArray = np.square(self.factor).sum(axis=0)
        return squares + self.damping

    def times(self, rows: FloatArray) -> FloatArray:
        """The product `rows @ gram`, `[r, n]`."""
        return (rows @ self.factor.T) @ self.factor + rows * self.damping

    def damped(self, amount: float) -> Gram:
        """The matrix with `amount` added to the diagonal."""
        return FactoredGram(self.factor, self.damping + amount)

    def scaled(self, scale: FloatArray) -> Gram:
        """The matrix with rows and columns divided by `scale`, `[n]`."""
        return FactoredGram(self.factor / scale, self.damping / scale**2)

    def single(self) -> Gram:
        """The matrix in float32."""
        return FactoredGram(self.factor.astype(np.float32), self.damping.astype(np.float32))

    def inverse(self) -> Apply:
        """Solves by the Woodbury identity, so that only `[positions, positions]` is factored."""
        weighted = self.factor / self.damping
        core = weighted @ self.factor.T
        core[np.diag_indices_from(core)] += 1
        factor = scipy.linalg.cho_factor(core, check_finite=False)
        solved = scipy.linalg.cho_solve(factor, weighted, check_finite=False)
        return lambda rows: rows / self.damping - (rows @ weighted.T) @ solved

    def solve(self, rows: FloatArray) -> FloatArray:
        """As `inverse`."""
        return self.inverse()(rows)

    def kept(self, columns: Array) -> Gram:
        """The submatrix of some columns; stored whole if there are no more than positions."""
        factor, damping = self.factor[:, columns], self.damping[columns]
        if factor.shape[1] <= factor.shape[0]:
            return WholeGram(np.asarray(factor.T @ factor + np.diag(damping)))
        return FactoredGram(factor, damping)

    @property
    def inverse_work(self) -> float:
        """Building and factoring the matrix `[positions, positions]`."""
        positions, width = self.factor.shape
        return 2.0 * positions**2 * width + positions**3 / 3
