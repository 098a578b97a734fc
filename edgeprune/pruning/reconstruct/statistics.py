"""The statistics of a layer's inputs and targets that least squares needs, summed over batches."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from edgeprune.core.arrays import Array
from edgeprune.keras_model.calls import Tensor
from edgeprune.pruning.reconstruct.gram import FactoredGram, FloatArray, Gram, WholeGram

POSITIONS_PER_COLUMN = 32
"""Approximate number of output positions that are summed per column of the device matrix."""
MIN_POSITIONS = 32768
"""Fewest output positions that are summed, if the samples have as many."""


@dataclass(frozen=True)
class Problem:
    """A layer's least-squares problem: bring `matrix @ column + bias` close to the dense target.

    All fields are means over positions, for `g` groups and a device matrix of `r` rows and `n`
    columns. Rows of one group are consecutive and read the same columns.
    """

    grams: tuple[Gram, ...]
    """`g` matrices `[n, n]`, the mean of `column @ column.T`."""
    cross: FloatArray
    """`[r, n]`, the mean of `target @ column.T`."""
    energy: FloatArray
    """`[r]`, the mean of the squared target."""
    column_mean: FloatArray
    """`[g, n]`; 0 if no bias is fitted."""
    target_mean: FloatArray
    """`[r]`; 0 if no bias is fitted."""

    def single(self) -> Problem:
        """The problem in float32."""
        return Problem(
            tuple(gram.single() for gram in self.grams),
            self.cross.astype(np.float32),
            self.energy.astype(np.float32),
            self.column_mean.astype(np.float32),
            self.target_mean.astype(np.float32),
        )

    def rows(self, group: int) -> slice:
        """The rows of the device matrix that belong to a group."""
        count = len(self.cross) // len(self.grams)
        return slice(group * count, (group + 1) * count)

    def times_gram(self, matrix: FloatArray) -> FloatArray:
        """The product of every row of `matrix`, `[r, n]`, and its group's Gram matrix, `[r, n]`."""
        parts = [gram.times(matrix[self.rows(g)]) for g, gram in enumerate(self.grams)]
        return np.concatenate(parts)

    def bias(self, matrix: FloatArray) -> FloatArray:
        """The best bias `[r]` for a device matrix `[r, n]`; 0 if none is fitted."""
        means = np.repeat(self.column_mean, len(matrix) // len(self.grams), axis=0)
        predicted: FloatArray = (matrix * means).sum(axis=1)
        return self.target_mean - predicted

    def errors(self, matrix: FloatArray) -> FloatArray:
        """The mean squared error `[r]` of a device matrix `[r, n]` with its best bias."""
        change = ((self.times_gram(matrix) - 2 * self.cross) * matrix).sum(axis=1)
        found: FloatArray = np.maximum(self.energy + change, 0.0)
        return found


class Sums:
    """Sums a layer's statistics over batches; `problem` gives the means.

    Everything is centred on the mean of the first batch, which limits rounding errors where a mean
    is large compared with its standard deviation. Columns are stored unsummed while they are fewer
    than the Gram matrix is wide, as for a Dense layer behind a large feature map.

    Args:
      groups: number of groups.
      columns: columns of the device matrix.
      rows: rows of the device matrix.
    """

    def __init__(self, groups: int, columns: int, rows: int) -> None:
        self.rows = rows
        self._shape = (groups, columns)
        self._positions = 0
        self._waiting: list[Array] = []
        self._gram: FloatArray | None = None
        self._cross = np.zeros((rows, columns))
        self._energy = np.zeros(rows)
        self._columns = np.zeros((groups, columns))
        self._targets = np.zeros(rows)
        self._first_columns = np.zeros((groups, columns), np.float32)
        self._first_targets = np.zeros(rows, np.float32)

    def add(self, columns: Tensor, targets: Tensor) -> None:
        """Adds a batch of positions.

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
        """The problem over all positions added; with a bias, columns and targets are centred."""
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

    def _grams(self, offset: FloatArray, mean: FloatArray) -> tuple[Gram, ...]:
        """Gram matrices of the centred columns plus `mean`, which is the columns' mean or 0."""
        if self._gram is None:
            centred = np.concatenate(self._waiting, axis=1) - offset[:, None]
            factors = (centred + mean[:, None]) / np.sqrt(self._positions)
            return tuple(FactoredGram(factor, np.zeros(self._shape[1])) for factor in factors)
        gram = self._gram / self._positions
        return tuple(
            WholeGram(part - np.outer(off, off) + np.outer(back, back))
            for part, off, back in zip(gram, offset, mean, strict=True)
        )

    def _row_outer(self, targets: FloatArray, columns: FloatArray) -> FloatArray:
        return targets[:, None] * np.repeat(columns, self.rows // len(columns), axis=0)


def chosen_positions(positions: int, batch: int, batches: int, columns: int) -> Array | None:
    """A random choice of positions of a batch, the same in every run.

    Neighbouring positions are similar, so a random part of them suffices.

    Args:
      positions: positions in the batch.
      batch: index of the batch.
      batches: number of batches.
      columns: columns of the device matrix.

    Returns:
      `[chosen]`, ascending indices; None if all are used.
    """
    wanted = -(-max(MIN_POSITIONS, POSITIONS_PER_COLUMN * columns) // batches)
    if positions <= wanted:
        return None
    chosen = np.random.default_rng(batch).choice(positions, wanted, replace=False)
    return np.sort(chosen)
