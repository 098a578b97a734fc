"""Gram matrices of columns: held whole, or as the columns themselves where these are fewer."""

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
"""Of 64 bits, or of 32 where a problem is wide."""
Apply = Callable[[FloatArray], FloatArray]
"""Maps rows `[r, n]` to rows `[r, n]`."""


class Gram(ABC):
    """`[n, n]`, symmetric: mean of column times column, plus a multiple of the identity."""

    @property
    @abstractmethod
    def diagonal(self) -> FloatArray:
        """`[n]`."""

    @abstractmethod
    def times(self, rows: FloatArray) -> FloatArray:
        """`rows @ gram`, `[r, n]`."""

    @abstractmethod
    def damped(self, amount: float) -> Gram:
        """With `amount` more on the diagonal."""

    @abstractmethod
    def scaled(self, scale: FloatArray) -> Gram:
        """Of columns divided by `scale`, `[n]`; damping is taken in."""

    @abstractmethod
    def inverse(self) -> Apply:
        """What multiplies rows by the inverse; the matrix must be positive definite."""

    @abstractmethod
    def single(self) -> Gram:
        """In 32 bits."""

    @abstractmethod
    def kept(self, columns: Array) -> Gram:
        """Of some of the columns, by index."""

    @property
    @abstractmethod
    def inverse_work(self) -> float:
        """Floating-point operations that `inverse` takes, about."""

    @property
    @abstractmethod
    def times_work(self) -> float:
        """Floating-point operations that `times` takes for a row, about."""


@dataclass(frozen=True)
class WholeGram(Gram):
    """The matrix itself."""

    matrix: FloatArray

    @property
    def diagonal(self) -> FloatArray:
        """`[n]`."""
        return np.diagonal(self.matrix)

    def times(self, rows: FloatArray) -> FloatArray:
        """`rows @ gram`."""
        return rows @ self.matrix

    def damped(self, amount: float) -> Gram:
        """With `amount` more on the diagonal."""
        matrix = self.matrix.copy()
        matrix[np.diag_indices_from(matrix)] += amount
        return WholeGram(matrix)

    def scaled(self, scale: FloatArray) -> Gram:
        """Of columns divided by `scale`."""
        return WholeGram(self.matrix / scale[:, None] / scale)

    def single(self) -> Gram:
        """In 32 bits."""
        return WholeGram(self.matrix.astype(np.float32))

    def inverse(self) -> Apply:
        """By Cholesky's factors."""
        factor = scipy.linalg.cho_factor(self.matrix, check_finite=False)
        return lambda rows: scipy.linalg.cho_solve(factor, rows.T, check_finite=False).T

    def kept(self, columns: Array) -> Gram:
        """Of some of the columns."""
        return WholeGram(self.matrix[np.ix_(columns, columns)])

    @property
    def inverse_work(self) -> float:
        """A third of a cube."""
        return len(self.matrix) ** 3 / 3

    @property
    def times_work(self) -> float:
        """A square."""
        return 2.0 * len(self.matrix) ** 2


@dataclass(frozen=True)
class FactoredGram(Gram):
    """`factor.T @ factor + diag(damping)` with fewer rows than columns."""

    factor: FloatArray
    """`[positions, n]`."""
    damping: FloatArray
    """`[n]`."""

    @property
    def diagonal(self) -> FloatArray:
        """`[n]`."""
        squares: FloatArray = np.square(self.factor).sum(axis=0)
        return squares + self.damping

    def times(self, rows: FloatArray) -> FloatArray:
        """`rows @ gram`."""
        return (rows @ self.factor.T) @ self.factor + rows * self.damping

    def damped(self, amount: float) -> Gram:
        """With `amount` more on the diagonal."""
        return FactoredGram(self.factor, self.damping + amount)

    def scaled(self, scale: FloatArray) -> Gram:
        """Of columns divided by `scale`."""
        return FactoredGram(self.factor / scale, self.damping / scale**2)

    def single(self) -> Gram:
        """In 32 bits."""
        return FactoredGram(self.factor.astype(np.float32), self.damping.astype(np.float32))

    def inverse(self) -> Apply:
        """By Woodbury's identity, so that only `[positions, positions]` is inverted."""
        weighted = self.factor / self.damping
        core = weighted @ self.factor.T
        core[np.diag_indices_from(core)] += 1
        factor = scipy.linalg.cho_factor(core, check_finite=False)

        def apply(rows: FloatArray) -> FloatArray:
            inner = scipy.linalg.cho_solve(factor, weighted @ rows.T, check_finite=False)
            applied: FloatArray = rows / self.damping - inner.T @ weighted
            return applied

        return apply

    def kept(self, columns: Array) -> Gram:
        """Of some of the columns; held whole where they are the fewer."""
        factor, damping = self.factor[:, columns], self.damping[columns]
        if factor.shape[1] <= factor.shape[0]:
            return WholeGram(np.asarray(factor.T @ factor + np.diag(damping)))
        return FactoredGram(factor, damping)

    @property
    def inverse_work(self) -> float:
        """Making and decomposing `[positions, positions]`."""
        positions, width = self.factor.shape
        return 2.0 * positions**2 * width + positions**3 / 3

    @property
    def times_work(self) -> float:
        """Once through the factor and back."""
        return 4.0 * self.factor.size
