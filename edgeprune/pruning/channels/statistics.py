"""Statistics of the activations of a network: moments of the channels that each matrix reads.

One pass over the calibration data, batch by batch and layer by layer, so that memory holds one
batch of activations and one covariance matrix per tensor.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import tensorflow as tf

from edgeprune.core.arrays import Array
from edgeprune.core.errors import ModelError
from edgeprune.core.progress import Progress
from edgeprune.keras_model.calls import Call
from edgeprune.pruning.channels.trace import Trace

CALIBRATION_BATCH = 16
"""Samples in a batch."""
MAX_ROWS = 1024
"""Most positions of a batch that enter the moments; of more, evenly spaced ones are taken."""
RIDGE = 1e-3
"""Fraction of the mean variance added to the diagonal, so that the covariance has an inverse."""
TINY = 1e-12
"""Variance below which a channel counts as constant."""
MAX_SQUARE = 4096
"""Largest number of channels for which the covariance is computed; of more, only variances."""

Key = tuple[str, int]
"""A call of the model, see `calls.Call.key`."""


@dataclass(frozen=True)
class Moments:
    """Mean and covariance of a tensor's channels over samples and positions."""

    rows: int
    """Number of samples times positions."""
    mean: Array
    """float64 `[channels]`."""
    covariance: Array
    """float32 `[channels, channels]`, `shrunk`; or `[channels]`, variances only."""

    @property
    def variance(self) -> Array:
        """The variances, `[channels]`."""
        diagonal = self.covariance if self.covariance.ndim == 1 else np.diag(self.covariance)
        return np.asarray(diagonal)

    @cached_property
    def inverse(self) -> Array:
        """The inverse of the covariance plus a ridge, float32 `[channels, channels]`.

        It is positive definite. The covariance must be a matrix.
        """
        square = self.covariance.astype(np.float64)
        ridge = RIDGE * max(float(np.mean(self.variance)), TINY)
        square[np.diag_indices_from(square)] += ridge
        try:
            np.linalg.cholesky(square)
            return np.linalg.inv(square).astype(np.float32)
        except np.linalg.LinAlgError:  # rounding has left a negative eigenvalue
            strengths, axes = np.linalg.eigh(square)
            return np.asarray((axes / np.maximum(strengths, ridge)) @ axes.T, np.float32)


def shrunk(covariance: Array, rows: int) -> Array:
    """Shrinks a covariance towards its diagonal, the more the fewer samples there are.

    Correlations estimated from few samples are mostly noise. The amount is that of oracle
    approximating shrinkage (OAS) of the correlation matrix towards the identity.

    Args:
      covariance: `[channels, channels]`.
      rows: number of samples that it was estimated from.

    Returns:
      `[channels, channels]`, with the same diagonal.

    Source: Chen, Wiesel, Eldar and Hero, "Shrinkage algorithms for MMSE covariance estimation",
    IEEE Transactions on Signal Processing 58(10), 2010, equation 23.
    """
    size = len(covariance)
    spread = np.sqrt(np.maximum(np.diag(covariance), 1e-30))
    square = float(np.sum(np.square(covariance / spread / spread[:, None])))
    chance = (rows + 1 - 2 / size) * max(square - size, 1e-30)
    weight = min(1.0, ((1 - 2 / size) * square + size**2) / chance)
    smaller = covariance * (1 - weight)
    np.fill_diagonal(smaller, np.diag(covariance))
    return np.asarray(smaller)


@dataclass
class _Sums:
    """First and second moments, summed about `shift`, which limits rounding for large means."""

    shift: Any
    rows: int
    first: Any
    second: Any


def measure_moments(
    trace: Trace,
    x: Sequence[Array],
    progress: Progress,
) -> Mapping[Key, Moments]:
    """Runs a traced model on calibration data, for the moments of the inputs of each matrix.

    Args:
      trace: the trace of the model.
      x: one array `[n, ...]` per input of the model.
      progress: called after each batch.

    Returns:
      The moments of the first input of each call with a matrix, by the key of the call.

    Raises:
      ModelError: activations are not finite.
    """
    wanted = {
        found.key: trace.tensors[found.key][0].axis
        for found in trace.matrices
        if found.matrix.source is not None and found.matrix.inputs is not None
    }
    # Several layers may read one tensor, which is measured once.
    sums: dict[int, _Sums] = {}
    tensor_of: dict[Key, int] = {}
    batches = -(-len(x[0]) // CALIBRATION_BATCH)
    for step in range(batches):
        added: set[int] = set()
        # Strided, so that data sorted by class does not make one-sided batches.
        batch = [tf.constant(array[step::batches]) for array in x]

        def apply(call: Call, tensors: list[Any], added: set[int] = added) -> list[Any]:
            if call.key in wanted:
                source = id(call.node.input_tensors[0])
                if tensor_of.setdefault(call.key, source) not in added:
                    _add(sums, source, _rows(tensors[0], wanted[call.key]))
                    added.add(source)
            return call.run(tensors)

        trace.graph.apply(batch, apply)
        progress("measuring channels", step + 1, batches)
    found = {source: _moments(part) for source, part in sums.items()}
    for (path, _), source in tensor_of.items():
        require_finite(found[source].covariance, path)
    return {key: found[source] for key, source in tensor_of.items()}


def require_finite(values: Array, path: str) -> None:
    """Checks what was computed of the activations that a layer reads.

    Args:
      values: anything that is not finite where they are not.
      path: the layer.

    Raises:
      ModelError: they are not finite.
    """
    if not np.isfinite(values).all():
        raise ModelError(
            f"{path}: expected finite activations on the samples given. Received: NaN or infinity."
            " See that the data is scaled as the model wants it."
        )


def _rows(tensor: Any, axis: int) -> Any:
    """A tensor as float32 `[positions, channels]`, at most `MAX_ROWS` positions."""
    rank = len(tensor.shape)
    order = [at for at in range(rank) if at != axis + 1] + [axis + 1]
    last = tf.transpose(tensor, order) if order != list(range(rank)) else tensor
    rows = tf.reshape(last, [-1, tensor.shape[axis + 1]])
    return tf.cast(rows[:: -(-rows.shape[0] // MAX_ROWS)], tf.float32)


def _add(sums: dict[int, _Sums], key: int, rows: Any) -> None:
    shift = sums[key].shift if key in sums else tf.reduce_mean(rows, 0)
    rows = rows - shift
    square = rows.shape[1] <= MAX_SQUARE
    first = tf.reduce_sum(rows, 0)
    second = tf.matmul(rows, rows, transpose_a=True) if square else tf.reduce_sum(rows * rows, 0)
    if key not in sums:
        sums[key] = _Sums(shift, rows.shape[0], first, second)
        return
    sums[key].rows += rows.shape[0]
    sums[key].first += first
    sums[key].second += second


def _moments(sums: _Sums) -> Moments:
    mean = np.asarray(sums.first, np.float64) / sums.rows
    second = np.asarray(sums.second, np.float64) / sums.rows
    product = np.outer(mean, mean) if second.ndim == 2 else mean * mean
    covariance = second - product
    diagonal = covariance if covariance.ndim == 1 else np.einsum("ii->i", covariance)
    np.maximum(diagonal, 0, out=diagonal)
    if covariance.ndim == 2:
        covariance = shrunk(covariance, sums.rows)
    return Moments(sums.rows, mean + np.asarray(sums.shift), covariance.astype(np.float32))
