"""Estimates the statistics of batch normalisation from samples without labels."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from edgeprune.core.arrays import Array
from edgeprune.core.progress import Progress
from edgeprune.keras_model.copies import copy_model
from edgeprune.keras_model.interface import call_model
from edgeprune.keras_model.layers import LayerMap, map_layers
from edgeprune.pruning.channels.removal import InputsLeft
from edgeprune.pruning.channels.statistics import TINY

_BATCH_SIZE = 64


def adjust_batch_norm(
    smaller: LayerMap, whole: LayerMap, inputs: InputsLeft, x: list[Array], progress: Progress
) -> None:
    """Adjusts batch normalisation, in place, to what the removal of channels changed.

    Statistics of a few samples are not those that a model was trained with. So both models are
    estimated on the same samples, and only the difference of means and the ratio of variances are
    carried over: where nothing was removed, nothing changes.

    Args:
      smaller: the model without the channels; its batch normalisation is changed.
      whole: the model before; not changed.
      inputs: the channels that the layers of the smaller model still read.
      x: one array `[n, ...]` per input of the models.
      progress: called after each batch.
    """
    copy = map_layers(copy_model(whole.model))
    estimate_batch_norm(copy, x, progress)
    estimate_batch_norm(smaller, x, progress)
    for path, norm in smaller.layers.items():
        _, left = inputs.get((path, 0), (0, np.empty(0, np.int64)))
        if not _is_estimated(norm) or norm.moving_mean.shape != left.shape:
            continue
        trained, sampled = whole.layers[path], copy.layers[path]
        means = [np.asarray(each.moving_mean)[left] for each in (trained, sampled)]
        spreads = [np.asarray(each.moving_variance)[left] for each in (trained, sampled)]
        ratio = np.asarray(norm.moving_variance) / np.maximum(spreads[1], TINY)
        norm.moving_mean.assign(means[0] + np.asarray(norm.moving_mean) - means[1])
        norm.moving_variance.assign(spreads[0] * ratio)


def _is_estimated(layer: Any) -> bool:
    return isinstance(layer, keras.layers.BatchNormalization) and layer.trainable


def estimate_batch_norm(mapped: LayerMap, x: list[Array], progress: Progress) -> None:
    """Re-estimates mean and variance of every batch normalisation, in place.

    The momentum of batch `i` (from 0) is `i / (i + 1)`, so that the moving average becomes the
    plain mean over all batches. Layers that are frozen (`trainable=False`) keep their statistics;
    nothing else of the model changes.

    Args:
      mapped: a built Keras model; its batch normalisation is changed.
      x: one array `[n, ...]` per input of the model.
      progress: called after each batch.

    Source: Wu and Johnson, "Rethinking Batch in BatchNorm", 2021, arXiv:2105.07576, section 3.
    """
    norms = [layer for layer in mapped.layers.values() if _is_estimated(layer)]
    if not norms:
        return
    batches = -(-len(x[0]) // _BATCH_SIZE)
    with _without_dropout(mapped), _momentum_restored(norms):
        for step in range(batches):
            for norm in norms:
                norm.momentum = step / (step + 1)
            # Strided, so that data sorted by class does not make one-sided batches.
            batch = [np.ascontiguousarray(array[step::batches]) for array in x]
            call_model(mapped.model, batch, training=True)
            progress("estimating batch normalisation", step + 1, batches)


@contextlib.contextmanager
def _momentum_restored(norms: list[Any]) -> Iterator[None]:
    before = [norm.momentum for norm in norms]
    try:
        yield
    finally:
        for norm, momentum in zip(norms, before, strict=True):
            norm.momentum = momentum


@contextlib.contextmanager
def _without_dropout(mapped: LayerMap) -> Iterator[None]:
    """Sets the rate of dropout layers to 0, as at inference."""
    layers = [layer for layer in mapped.layers.values() if hasattr(layer, "rate")]
    before = [layer.rate for layer in layers]
    try:
        for layer in layers:
            layer.rate = 0.0
        yield
    finally:
        for layer, rate in zip(layers, before, strict=True):
            layer.rate = rate
