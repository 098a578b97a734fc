"""Estimates the statistics of batch normalisation from samples without labels."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from edgeprune.core.arrays import Array
from edgeprune.core.progress import Progress
from edgeprune.keras_model.interface import call_model
from edgeprune.keras_model.layers import LayerMap

_BATCH_SIZE = 64


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
    norms = [
        layer
        for layer in mapped.layers.values()
        if isinstance(layer, keras.layers.BatchNormalization) and layer.trainable
    ]
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
