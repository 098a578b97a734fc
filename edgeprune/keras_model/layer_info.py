"""What a plan needs to know of the layers of a Keras model; reads shapes and the graph only."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from edgeprune.core.errors import ModelError
from edgeprune.core.plan import LayerInfo
from edgeprune.keras_model.calls import CallGraph, nodes_of, read_calls
from edgeprune.keras_model.layers import (
    Layer,
    LayerMap,
    Model,
    has_graph,
    is_model,
    kernel_variable,
    map_layers,
)


def describe_layers(mapped: LayerMap) -> tuple[LayerInfo, ...]:
    """Lists every layer of a model, as `plan` wants them.

    Raises:
      ModelError: the model has no weights yet (it was never built).
    """
    model = mapped.model
    if not model.built:
        raise ModelError(
            f"{model.name}: expected a built model. Received: one without weights. Call it once "
            "on data, or give it an Input, before saving."
        )
    last, before_maps = _before_output(model), _before_maps(model)
    return tuple(
        _layer_info(path, layer, id(layer) in before_maps, id(layer) in last)
        for path, layer in mapped.layers.items()
    )


def _layer_info(path: str, layer: Layer, before_map: bool, feeds_output: bool) -> LayerInfo:
    kernel = kernel_variable(layer)
    pixels = _pixels(layer)
    return LayerInfo(
        path=path,
        kind=type(layer).__name__,
        shape=tuple(kernel.shape) if kernel is not None else None,
        parameters=sum(math.prod(weight.shape) for weight in layer.weights),
        pixels=pixels,
        strides=_as_tuple(getattr(layer, "strides", ())),
        groups=getattr(layer, "groups", 1),
        feeds_map=pixels == 1 and before_map,
        feeds_output=feeds_output,
    )


def _as_tuple(value: Any) -> tuple[int, ...]:
    return (value,) if isinstance(value, int) else tuple(value)


def _pixels(layer: Layer) -> int | None:
    """Output positions of one sample (height * width); the most of them if called several times.

    None where the shape is not known before the model runs.
    """
    shapes = [tensor.shape for node in nodes_of(layer) for tensor in node.output_tensors]
    if not shapes or getattr(layer, "data_format", None) == "channels_first":
        return None
    counts = [math.prod(shape[1:-1]) if None not in shape[1:-1] else None for shape in shapes]
    known = [count for count in counts if count is not None]
    return max(known) if len(known) == len(counts) else None


def _before_maps(model: Model) -> set[int]:
    """`id` of every layer behind which there is a feature map of several pixels."""
    graph = read_calls(model)
    maps: set[int] = set()
    found: set[int] = set()
    for call in reversed(graph.calls):
        if not maps.isdisjoint(call.outputs):
            found.add(id(call.operation))
        pixels = [math.prod(size or 2 for size in shape[1:-1]) for shape in call.output_shapes]
        if id(call.operation) in found or any(count > 1 for count in pixels):
            maps.update(call.inputs)
    return found


def _before_output(model: Model) -> set[int]:
    """`id` of every layer that mixes channels and whose result reaches an output unmixed.

    Their output channels are the model's own outputs, such as classes, and cannot go. Of a model
    without a graph it is the last layer that mixes channels.
    """
    if not has_graph(model):
        mixing = [layer for layer in map_layers(model).layers.values() if _mixes_channels(layer)]
        return {id(layer) for layer in mixing[-1:]}
    return set(_mixed_last(read_calls(model)))


def _mixed_last(graph: CallGraph) -> Iterator[int]:
    """Walks back from the outputs to what mixed them."""
    makers = {value: call for call in graph.calls for value in call.outputs}
    waiting, seen = list(graph.outputs), set(graph.inputs)
    while waiting:
        value = waiting.pop()
        if value in seen:
            continue
        seen.add(value)
        call = makers[value]
        if is_model(call.operation):
            inside = _before_output(call.operation)
            yield from inside
            waiting += () if inside else call.inputs
        elif _mixes_channels(call.operation):
            yield id(call.operation)
        else:
            waiting += call.inputs


def _mixes_channels(operation: Any) -> bool:
    if is_model(operation) or type(operation).__name__.startswith("Depthwise"):
        return False
    return any(len(weight.shape) > 1 for weight in getattr(operation, "weights", ()))
