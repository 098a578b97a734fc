"""What least squares needs to know of a layer's inputs and targets, summed up batch by batch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from edgeprune.core.arrays import Array
from edgeprune.keras_model.calls import Tensor
from edgeprune.pruning.reconstruct.gram import FactoredGram, Gram, Matrix, WholeGram

POSITIONS_PER_COLUMN = 32
"""How many output positions are summed up for each column of the device matrix, about."""
MIN_POSITIONS = 32768


@dataclass(frozen=True)
class Problem:
    """Least squares for one layer: `matrix @ column + bias` is to be near the dense target.

    All are means over positions; with `g` groups, `n` columns of the device matrix and `r` rows.
    Rows of one group are consecutive and see the same columns.
    """

    grams: tuple[Gram, ...]
    """`g` times `[n, n]`: of column times column."""
    cross: Matrix
    """`[r, n]`: of target times column."""
    energy: Matrix
    """`[r]`: of the target's square."""
    column_mean: Matrix
    """`[g, n]`; 0 where no bias is fitted."""
    target_mean: Matrix
    """`[r]`; 0 where no bias is fitted."""

    def single(self) -> Problem:
        """The same in 32 bits."""
        return Problem(
            tuple(gram.single() for gram in self.grams),
            self.cross.astype(np.float32),
            self.energy.astype(np.float32),
            self.column_mean.astype(np.float32),
            self.target_mean.astype(np.float32),
        )

    def rows(self, group: int) -> slice:
        """The rows of a group."""
        count = len(self.cross) // len(self.grams)
        return slice(group * count, (group + 1) * count)

    def times_gram(self, matrix: Matrix) -> Matrix:
        """Every row times the gram matrix of its group, `[r, n]`."""
        parts = [gram.times(matrix[self.rows(g)]) for g, gram in enumerate(self.grams)]
        return np.concatenate(parts)

    def bias(self, matrix: Matrix) -> Matrix:
        """`[r]`: the best bias beside a device matrix; 0 where none is fitted."""
        means = np.repeat(self.column_mean, len(matrix) // len(self.grams), axis=0)
        predicted: Matrix = (matrix * means).sum(axis=1)
        return self.target_mean - predicted

    def errors(self, matrix: Matrix) -> Matrix:
        """`[r]`: mean squared distance from the target, the best bias added."""
        change = ((self.times_gram(matrix) - 2 * self.cross) * matrix).sum(axis=1)
        found: Matrix = np.maximum(self.energy + change, 0.0)
        return found


class Sums:
    """Adds up a layer's statistics; `problem` gives the means.

    Everything is summed about the mean of the first batch, so that little is lost to rounding where
    a mean is large beside its spread. Columns are kept as they are while they are fewer than the
    gram matrix is wide, as for a Dense layer behind a large map.
    """

    def __init__(self, groups: int, columns: int, rows: int) -> None:
        self.rows = rows
        self._shape = (groups, columns)
        self._positions = 0
        self._waiting: list[Array] = []
        self._gram: Matrix | None = None
        self._cross = np.zeros((rows, columns))
        self._energy = np.zeros(rows)
        self._columns = np.zeros((groups, columns))
        self._targets = np.zeros(rows)
        self._first_columns = np.zeros((groups, columns), np.float32)
        self._first_targets = np.zeros(rows, np.float32)

    def add(self, columns: Tensor, targets: Tensor) -> None:
        """Adds positions.

        Args:
          columns: float32 `[positions, groups, in]`, from the pruned model.
          targets: float32 `[positions, out]`, from the dense model.
        """
        if not self._positions:
            self._first_columns = tf.reduce_mean(columns, axis=0).numpy()
            self._first_targets = tf.reduce_mean(targets, axis=0).numpy()
        targets = targets - self._first_targets
        inputs = tf.transpose(columns - self._first_columns, [1, 0, 2])
        count, positions, width = inputs.shape
        grouped = tf.transpose(tf.reshape(targets, [positions, count, -1]), [1, 2, 0])
        self._positions += int(positions)
        self._cross += tf.matmul(grouped, inputs).numpy().reshape(-1, width)
        self._energy += tf.reduce_sum(tf.square(targets), axis=0).numpy()
        self._columns += tf.reduce_sum(inputs, axis=1).numpy()
        self._targets += tf.reduce_sum(targets, axis=0).numpy()
        self._add_gram(inputs)

    def _add_gram(self, inputs: Tensor) -> None:
        groups, width = self._shape
        if self._gram is None and self._positions < width:
            self._waiting.append(inputs.numpy())
            return
        if self._gram is None:
            self._gram = np.zeros((groups, width, width))
        for part in [*self._waiting, inputs]:
            self._gram += tf.matmul(part, part, transpose_a=True).numpy()
        self._waiting = []

    def problem(self, *, with_bias: bool) -> Problem:
        """The means; with a bias, about the mean of columns and targets."""
        offset_columns = self._columns / self._positions
        offset_targets = self._targets / self._positions
        column_mean = self._first_columns + offset_columns
        target_mean = self._first_targets + offset_targets
        about = 0.0 if with_bias else 1.0
        return Problem(
            self._grams(offset_columns, about * column_mean),
            self._cross / self._positions
            - self._row_outer(offset_targets, offset_columns)
            + about * self._row_outer(target_mean, column_mean),
            self._energy / self._positions - offset_targets**2 + about * target_mean**2,
            column_mean * (1 - about),
            target_mean * (1 - about),
        )

    def _grams(self, offset: Matrix, mean: Matrix) -> tuple[Gram, ...]:
        """Grams about the mean of the columns, with `mean` (that or 0) added to them again."""
        if self._gram is None:
            centred = np.concatenate(self._waiting, axis=1) - offset[:, None]
            factors = (centred + mean[:, None]) / np.sqrt(self._positions)
            return tuple(FactoredGram(factor, np.zeros(self._shape[1])) for factor in factors)
        gram = self._gram / self._positions
        return tuple(
            WholeGram(part - np.outer(off, off) + np.outer(back, back))
            for part, off, back in zip(gram, offset, mean, strict=True)
        )

    def _row_outer(self, targets: Matrix, columns: Matrix) -> Matrix:
        return targets[:, None] * np.repeat(columns, self.rows // len(columns), axis=0)


def chosen_positions(positions: int, batch: int, batches: int, columns: int) -> Array | None:
    """The positions of a batch that are summed up; None for all of them.

    Neighbouring positions tell much the same, so that a part chosen at random does; the choice is
    the same in every run.
    """
    wanted = -(-max(MIN_POSITIONS, POSITIONS_PER_COLUMN * columns) // batches)
    if positions <= wanted:
        return None
    chosen = np.random.default_rng(batch).choice(positions, wanted, replace=False)
    return np.sort(chosen)
