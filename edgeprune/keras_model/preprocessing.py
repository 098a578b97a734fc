"""Where preprocessing stands in a model: on the path from each input to the first layer with a
kernel, such as Rescaling, Normalization or arithmetic with constants."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import keras
import numpy as np

from edgeprune.core.data import DEFAULT_SCALE, RAW, InputSpec
from edgeprune.keras_model.calls import Call, CallGraph, read_calls
from edgeprune.keras_model.interface import input_specs
from edgeprune.keras_model.layers import Layer, Model, layers_inside

PROBES = (0.0, 255.0)
"""Values that a step before the first kernel leaves as they are unless it preprocesses."""
OPEN_SIZE = 64
"""Length of axes without a fixed size, while a step is tried."""


def inputs_of(model: Model) -> tuple[InputSpec, ...]:
    """The inputs of a model, in its order, each with the scale that uint8 values want there.

    That is `RAW` where the model preprocesses the input itself, else `DEFAULT_SCALE`.

    Raises:
      ModelError: as `input_specs`.
    """
    specs = input_specs(model)
    graph = read_calls(model, len(specs))
    return tuple(
        replace(spec, scale=RAW if _is_preprocessed(graph, value) else DEFAULT_SCALE)
        for spec, value in zip(specs, graph.inputs, strict=True)
    )


def _is_preprocessed(graph: CallGraph, value: int) -> bool:
    return any(map(_preprocesses, _calls_before_kernels(graph, value)))


def _calls_before_kernels(graph: CallGraph, value: int) -> Iterator[Call]:
    """The calls that a value goes through before a layer with weights, that layer included."""
    waiting, seen = [value], {value}
    while waiting:
        for call in graph.takers.get(waiting.pop(), ()):
            yield call
            if not _has_kernel(call.operation):
                fresh = [made for made in call.outputs if made not in seen]
                seen.update(fresh)
                waiting += fresh


def _has_kernel(operation: Any) -> bool:
    """Whether a layer has weights other than the statistics of its inputs."""
    return bool(getattr(operation, "weights", ())) and not _is_normalization(operation)


def _is_normalization(operation: Any) -> bool:
    return isinstance(operation, keras.layers.Normalization | keras.layers.BatchNormalization)


def _preprocesses(call: Call) -> bool:
    operation = call.operation
    if isinstance(operation, keras.layers.BatchNormalization):
        return _saw_raw_values(operation)
    if _has_kernel(operation):
        return any(map(_is_preprocessing_layer, layers_inside(operation)))
    return call.node is not None and _changes_values(call)


def _saw_raw_values(layer: Layer) -> bool:
    """Whether batches that a BatchNormalization was trained on cannot have been in [-1, 1]."""
    mean, variance = np.asarray(layer.moving_mean), np.asarray(layer.moving_variance)
    return bool(np.abs(mean).max() > 1.01 or variance.max() > 1.01)


def _is_preprocessing_layer(layer: Layer) -> bool:
    """Whether a layer inside what cannot be followed, such as a subclassed model, preprocesses."""
    if isinstance(layer, keras.layers.Rescaling):
        return bool(np.any(np.asarray(layer.scale) != 1) or np.any(np.asarray(layer.offset) != 0))
    return isinstance(layer, keras.layers.Normalization)


def _changes_values(call: Call) -> bool:
    """Whether a step gives other values than it takes, found by running it on constant tensors.

    One that only moves, pools, cuts, pads with zeros or joins them does not. A step that takes
    several tensors, such as a sum, mixes inputs and does not count.
    """
    if len(call.node.input_tensors) != 1:
        return False
    (given,) = call.node.input_tensors
    shape = [1, *(size or OPEN_SIZE for size in given.shape[1:])]
    for probe in PROBES:
        (made, *_) = call.run([keras.ops.full(shape, probe, dtype=given.dtype)])
        values = np.asarray(made)
        if not np.isin(np.round(values.astype(np.float64), 2), (0.0, probe)).all():
            return True
    return False
