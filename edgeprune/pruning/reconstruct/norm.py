"""Corrects a batch normalisation whose input changed, in closed form."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from edgeprune.keras_model.calls import Tensor
from edgeprune.keras_model.layers import Layer
from edgeprune.pruning.reconstruct.gram import Matrix

SMALLEST_VARIANCE = 1e-12
"""Relative to the dense one: below it a channel counts as constant."""


@dataclass(frozen=True)
class Moments:
    """Mean and variance per channel, `[channels]`."""

    mean: Matrix
    variance: Matrix


class MomentSums:
    """Adds up a batch normalisation's input."""

    def __init__(self, axis: int) -> None:
        self._axis = axis
        self._count = 0
        self._sum: Matrix = np.zeros(())
        self._squares: Matrix = np.zeros(())

    def add(self, tensor: Tensor) -> None:
        """Adds a batch, channels along the layer's axis."""
        values = tf.cast(tensor, tf.float64)
        axis = self._axis % len(values.shape)
        others = [other for other in range(len(values.shape)) if other != axis]
        self._count += int(np.prod([values.shape[other] for other in others]))
        self._sum = self._sum + tf.reduce_sum(values, others).numpy()
        self._squares = self._squares + tf.reduce_sum(tf.square(values), others).numpy()

    def moments(self) -> Moments:
        """Over everything added."""
        mean = self._sum / self._count
        return Moments(mean, np.maximum(self._squares / self._count - mean**2, 0.0))


def correct(norm: Layer, dense_norm: Layer, before: Moments, after: Moments) -> None:
    """Sets a layer's statistics so that its outputs have the mean and variance they had, in place.

    With mean `m`, variance `v` on the dense model's samples and `m'`, `v'` on the pruned one's,
    the layer's own `(x - mean) / sqrt(var + eps)` keeps both moments of its output with

        var' + eps = (var + eps) * v' / v,   mean' = m' - (m - mean) * sqrt(v' / v)

    which leaves the layer as it is if its input did not change. A channel that was or is
    constant keeps its variance.

    Args:
      norm: the pruned model's batch normalisation.
      dense_norm: the dense model's.
      before: what enters the dense one.
      after: what enters the pruned one.
    """
    mean = np.asarray(dense_norm.moving_mean, np.float64)
    variance = np.asarray(dense_norm.moving_variance, np.float64)
    varies = (before.variance > 0) & (after.variance > SMALLEST_VARIANCE * before.variance)
    ratio = np.divide(after.variance, before.variance, where=varies, out=np.ones_like(mean))
    scaled = (variance + dense_norm.epsilon) * ratio - dense_norm.epsilon
    norm.moving_variance.assign(np.maximum(scaled, 0.0))
    norm.moving_mean.assign(after.mean - (before.mean - mean) * np.sqrt(ratio))
