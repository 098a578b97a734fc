"""Corrects the statistics of a batch normalisation whose input changed, in closed form."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from edgeprune.keras_model.calls import Tensor
from edgeprune.keras_model.layers import Layer
from edgeprune.pruning.reconstruct.gram import FloatArray

SMALLEST_VARIANCE = 1e-12
"""Variance, relative to the dense model's, below which a channel counts as constant."""


@dataclass(frozen=True)
class MeanVariance:
    """Mean and variance per channel, `[channels]`."""

    mean: FloatArray
    variance: FloatArray


class MomentSums:
    """Accumulates mean and variance of a batch normalisation's input."""

    def __init__(self, axis: int) -> None:
        self._axis = axis
        self._count = 0
        self._sum: FloatArray = np.zeros(())
        self._squares: FloatArray = np.zeros(())

    def add(self, tensor: Tensor) -> None:
        """Adds a batch, a tensor of any shape with channels along the layer's axis."""
        axis = self._axis % len(tensor.shape)
        others = [other for other in range(len(tensor.shape)) if other != axis]
        mean, variance = (
            moment.numpy().astype(np.float64)
            for moment in tf.nn.moments(tf.cast(tensor, tf.float32), others)
        )
        count = int(np.prod([tensor.shape[other] for other in others]))
        self._count += count
        self._sum = self._sum + count * mean
        self._squares = self._squares + count * (variance + mean**2)

    def moments(self) -> MeanVariance:
        """Mean and variance of all batches added."""
        mean = self._sum / self._count
        return MeanVariance(mean, np.maximum(self._squares / self._count - mean**2, 0.0))


def correct_statistics(
    norm: Layer, dense_norm: Layer, before: MeanVariance, after: MeanVariance
) -> None:
    """Sets a layer's statistics so that its outputs keep their mean and variance, in place.

    If its input has mean `m` and variance `v` in the dense model and `m'`, `v'` in the pruned one,
    both moments of its output `(x - mean) / sqrt(var + eps)` are kept by

        var' + eps = (var + eps) * v' / v,   mean' = m' - (m - mean) * sqrt(v' / v)

    which changes nothing if its input did not change. A channel that was or is constant keeps its
    variance.

    Args:
      norm: the batch normalisation of the pruned model.
      dense_norm: the same layer of the dense model.
      before: mean and variance of the input of `dense_norm`.
      after: mean and variance of the input of `norm`.
    """
    mean = np.asarray(dense_norm.moving_mean, np.float64)
    variance = np.asarray(dense_norm.moving_variance, np.float64)
    varies = (before.variance > 0) & (after.variance > SMALLEST_VARIANCE * before.variance)
    ratio = np.divide(after.variance, before.variance, where=varies, out=np.ones_like(mean))
    scaled = (variance + dense_norm.epsilon) * ratio - dense_norm.epsilon
    norm.moving_variance.assign(np.maximum(scaled, 0.0))
    norm.moving_mean.assign(after.mean - (before.mean - mean) * np.sqrt(ratio))
