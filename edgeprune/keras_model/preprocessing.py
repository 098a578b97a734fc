"""What stands in a model on the path from each input to the first layer with a kernel.

That may be preprocessing, such as Rescaling, Normalization or arithmetic with constants, or a table
whose rows the input chooses, such as an Embedding.
"""

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
LOOKUPS = {
    "Take": (1, "indices"),
    "TakeAlongAxis": (1, "indices"),
    "OneHot": (0, "x"),
    "CategoryEncoding": (0, "inputs"),
    "IntegerLookup": (0, "inputs"),
}
"""Place and name of the argument that holds ids, by the class of a layer or operation."""
OPEN_SIZE = 64
"""Length of axes without a fixed size, while a step is tried."""


def inputs_of(model: Model) -> tuple[InputSpec, ...]:
    """The inputs of a model, in its order, each with what is known of the values that it takes.

    The scale for uint8 is `RAW` where the model preprocesses the input itself or takes ids, else
    `DEFAULT_SCALE`.

    Raises:
      ModelError: as `input_specs`.
    """
    specs = input_specs(model)
    graph = read_calls(model, len(specs))
    return tuple(
        _with_use(spec, graph, value) for spec, value in zip(specs, graph.inputs, strict=True)
    )


def _with_use(spec: InputSpec, graph: CallGraph, value: int) -> InputSpec:
    ids = any(_is_lookup(call, taken) for call, taken in _calls_before_kernels(graph, value))
    raw = ids or _is_preprocessed(graph, value)
    return replace(spec, scale=RAW if raw else DEFAULT_SCALE, ids=ids)


def also_computed_with(model: Model) -> tuple[str, ...]:
    """The names of inputs that choose rows of a table and are computed with as well."""
    specs = inputs_of(model)
    graph = read_calls(model, len(specs))
    return tuple(
        spec.name
        for spec, value in zip(specs, graph.inputs, strict=True)
        if spec.ids and any(_computes(*step) for step in _calls_before_kernels(graph, value))
    )


def _computes(call: Call, value: int) -> bool:
    return not _is_lookup(call, value) and (_has_kernel(call.operation) or _preprocesses(call))


def _is_lookup(call: Call, value: int) -> bool:
    """Whether a call takes a value as the number of a row or class."""
    if call.node is None:
        return False
    if _holds_tables_only(call.operation):
        return True
    place = LOOKUPS.get(type(call.operation).__name__)
    if place is None:
        return False
    position, name = place
    arguments = call.node.arguments
    given = arguments.args[position] if len(arguments.args) > position else None
    numbers = {id(t): n for t, n in zip(call.node.input_tensors, call.inputs, strict=True)}
    return numbers.get(id(given if given is not None else arguments.kwargs.get(name))) == value


def _holds_tables_only(operation: Any) -> bool:
    """Whether a layer is an Embedding, or one around Embeddings and nothing else with weights."""
    if not isinstance(operation, keras.layers.Layer):
        return False
    weighted = [
        layer for layer in layers_inside(operation) if layer.weights and not _has_parts(layer)
    ]
    tables = [layer for layer in weighted if isinstance(layer, keras.layers.Embedding)]
    return bool(tables) and len(tables) == len(weighted)


def _has_parts(layer: Layer) -> bool:
    return len(layers_inside(layer)) > 1


def _is_preprocessed(graph: CallGraph, value: int) -> bool:
    return any(_preprocesses(call) for call, _ in _calls_before_kernels(graph, value))


def _calls_before_kernels(graph: CallGraph, value: int) -> Iterator[tuple[Call, int]]:
    """The calls that a value goes through before a layer with weights, that layer included.

    Each comes with the number of the value that it takes. What a lookup gives is not followed.
    """
    waiting, seen = [value], {value}
    while waiting:
        taken = waiting.pop()
        for call in graph.takers.get(taken, ()):
            yield call, taken
            if not _has_kernel(call.operation) and not _is_lookup(call, taken):
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
        try:
            (made, *_) = call.run([keras.ops.full(shape, probe, dtype=given.dtype)])
        except Exception:  # noqa: BLE001  layers of the user's own raise whatever they raise
            # What does not take every number, such as a table, wants the values themselves.
            return True
        values = np.asarray(made)
        if not np.isin(np.round(values.astype(np.float64), 2), (0.0, probe)).all():
            return True
    return False
