"""Adjusts the weights of the kept channels to compensate for the removed ones.

A removed channel is predicted linearly from the kept ones at the same position, by least squares
over the calibration data, and the weights that read it are added to those of the kept channels
accordingly; its mean goes into the bias. With covariance `C`, removed channels `R` and kept ones
`K`: `W_K += C_KK^-1 C_KR W_R`.

Source: He, Zhang and Sun, "Channel pruning for accelerating very deep neural networks", 2017,
arXiv:1707.06168, section 3.1 (their second step, here per position so that any window works).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np

from edgeprune.core.arrays import Array
from edgeprune.keras_model.layers import Layer, LayerMap
from edgeprune.pruning.channels.removal import Kept
from edgeprune.pruning.channels.statistics import RIDGE, TINY, Key, Moments
from edgeprune.pruning.channels.trace import Trace, TracedMatrix


def correct_weights(
    mapped: LayerMap, trace: Trace, kept: Kept, moments: Mapping[Key, Moments]
) -> None:
    """Adds the weights of removed channels to those of kept ones, in place.

    A layer that is called several times, or whose kernel is grouped, keeps its weights.

    Args:
      mapped: the traced model or a copy of it, with all channels.
      trace: the trace of the model.
      kept: bool `[channels]` by label; True keeps.
      moments: moments of the inputs of each matrix.
    """
    calls = Counter((found.path, found.matrix.weight) for found in trace.matrices)
    for found in trace.matrices:
        known = moments.get(found.key)
        labels = found.matrix.inputs
        if labels is None or known is None or kept[labels].all() or found.matrix.source is None:
            continue
        if calls[found.path, found.matrix.weight] == 1 and found.matrix.groups == 1:
            _correct_layer(mapped.layers[found.path], found, kept[labels], known, trace)


def _correct_layer(
    layer: Layer, found: TracedMatrix, stays: Array, moments: Moments, trace: Trace
) -> None:
    variable = getattr(layer, found.matrix.weight)
    kernel = np.asarray(variable, np.float64)
    axes = (found.matrix.input_axis, found.matrix.output_axis)
    moved = np.moveaxis(kernel, axes, (0, 1))
    bias = getattr(layer, "bias", None)
    centred = bias is not None or _before_normalization(found, trace)
    share = _shares(moments, stays, found.matrix.inputs, centred)
    removed = moved[~stays]
    if bias is not None:
        missing = moments.mean[~stays] - share.T @ moments.mean[stays]
        # Summed over the window too, which is inexact at padded borders only.
        change = np.einsum("i,io...->o...", missing, removed)
        bias.assign(np.asarray(bias) + change.reshape(change.shape[0], -1).sum(1))
    moved = moved.copy()
    moved[stays] += np.tensordot(share, removed, axes=1)
    variable.assign(np.moveaxis(moved, (0, 1), axes))


def _shares(moments: Moments, stays: Array, labels: Any, centred: bool) -> Array:
    """`[kept, removed]`: the coefficients that predict each removed channel from the kept ones."""
    kept, gone = np.flatnonzero(stays), np.flatnonzero(~stays)
    if moments.covariance.ndim == 1 or len(np.unique(labels)) < len(labels):
        return np.zeros((len(kept), len(gone)))
    square = moments.covariance.astype(np.float64)
    if not centred:
        square = square + np.outer(moments.mean, moments.mean)
    inner = square[np.ix_(kept, kept)]
    inner[np.diag_indices_from(inner)] += RIDGE * max(float(np.mean(np.diag(square))), TINY)
    return np.asarray(np.linalg.solve(inner, square[np.ix_(kept, gone)]))


def _before_normalization(found: TracedMatrix, trace: Trace) -> bool:
    """Whether only batch normalisation reads a layer; it recomputes the mean from its input."""
    readers = [call.operation for call in trace.graph.readers_of(found.layer)]
    return bool(readers) and all(type(r).__name__ == "BatchNormalization" for r in readers)
