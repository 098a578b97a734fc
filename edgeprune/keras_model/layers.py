"""What edgeprune needs to know of a Keras model: load it, copy it, save it, list its layers.

The one place that reads Keras' layer graph. Layers are named by their path, the names of the nested
models around them included: `"backbone/stem/conv1"`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import keras

from edgeprune.core.errors import ModelError
from edgeprune.core.plan import LayerInfo
from edgeprune.core.terms import LAYER_KINDS

Model = Any
"""A `keras.Model`; Keras ships no type information."""
Layer = Any
"""A `keras.layers.Layer`."""


def can_rebuild(model: Model) -> bool:
    """Whether a model is Sequential (built or not) or Functional, rather than subclassed."""
    return isinstance(model, keras.Sequential) or has_graph(model)


def is_model(layer: Layer) -> bool:
    """Whether a layer is itself a model, whose layers are listed one by one."""
    return isinstance(layer, keras.Model)


def has_graph(model: Model) -> bool:
    """Whether Keras knows how the layers of a model are connected (not so if it is subclassed)."""
    return bool(getattr(model, "outputs", None))


def functional(model: Model) -> Model:
    """The functional model that holds the graph of a model with one; Sequential wraps it."""
    return model._functional if isinstance(model, keras.Sequential) else model


def walk(model: Model, prefix: str = "") -> Iterator[tuple[str, Layer]]:
    """Yields `(path, layer)` in the order of the model, nested models opened.

    A layer used in several places may come up several times, under each of its paths.
    """
    for layer in model.layers:
        path = f"{prefix}{layer.name}"
        if is_model(layer):
            yield from walk(layer, f"{path}/")
        else:
            yield path, layer


def unique_layers(model: Model) -> dict[str, Layer]:
    """Every layer once, by the first path that reaches it."""
    found: dict[int, tuple[str, Layer]] = {}
    for path, layer in walk(model):
        found.setdefault(id(layer), (path, layer))
    return dict(found.values())


def layers_inside(layer: Layer) -> list[Layer]:
    """Every layer within a model or layer, however deep and in whatever attribute; itself first."""
    return list(layer._flatten_layers())


def layers_with_masks(model: Model) -> list[Layer]:
    """The layers of a model that hold masks while they train, known by their `masked_kernels`."""
    return [layer for layer in layers_inside(model) if hasattr(layer, "masked_kernels")]


def kernel_variable(layer: Layer) -> Any:
    """The `keras.Variable` that patterns apply to: the kernel; of a separable layer the pointwise.

    None for a layer whose kind has no device matrix.
    """
    kind = type(layer).__name__
    if kind not in LAYER_KINDS or not layer.built:
        return None
    return layer.pointwise_kernel if kind.startswith("Separable") else layer.kernel


def describe_layers(model: Model) -> tuple[LayerInfo, ...]:
    """Lists every layer, as `plan` wants them; reads shapes only.

    Raises:
      ModelError: the model has no weights yet (it was never built).
    """
    if not model.built:
        raise ModelError(
            f"{model.name}: expected a built model. Received: one without weights. Call it once "
            "on data, or give it an Input, before saving."
        )
    last = _layers_before_output(model)
    return tuple(
        _layer_info(path, layer, id(layer) in last) for path, layer in unique_layers(model).items()
    )


def _layer_info(path: str, layer: Layer, feeds_output: bool) -> LayerInfo:
    kernel = kernel_variable(layer)
    return LayerInfo(
        path=path,
        kind=type(layer).__name__,
        shape=tuple(kernel.shape) if kernel is not None else None,
        parameters=sum(math.prod(weight.shape) for weight in layer.weights),
        pixels=_pixels(layer),
        strides=_as_tuple(getattr(layer, "strides", ())),
        groups=getattr(layer, "groups", 1),
        feeds_map=_pixels(layer) == 1 and _reaches_map(layer),
        feeds_output=feeds_output,
    )


def _as_tuple(value: Any) -> tuple[int, ...]:
    return (value,) if isinstance(value, int) else tuple(value)


def _pixels(layer: Layer) -> int | None:
    """Output positions of one sample (height * width); the most of them if called several times.

    None where the shape is not known before the model runs.
    """
    shapes = [tensor.shape for node in calls(layer) for tensor in node.output_tensors]
    if not shapes or getattr(layer, "data_format", None) == "channels_first":
        return None
    counts = [math.prod(shape[1:-1]) if None not in shape[1:-1] else None for shape in shapes]
    known = [count for count in counts if count is not None]
    return max(known) if len(known) == len(counts) else None


def _reaches_map(layer: Layer) -> bool:
    """Whether something behind a layer, in its own graph, is a feature map of several pixels."""
    waiting, seen = [layer], {id(layer)}
    while waiting:
        for node in waiting.pop()._outbound_nodes:
            shapes = [tensor.shape for tensor in node.output_tensors]
            if any(math.prod(size or 2 for size in shape[1:-1]) > 1 for shape in shapes):
                return True
            if id(node.operation) not in seen:
                seen.add(id(node.operation))
                waiting.append(node.operation)
    return False


def calls(operation: Any) -> list[Any]:
    """The calls of a layer that built the graph it stands in; Keras keeps them under this name."""
    return list(operation._inbound_nodes)


def _layers_before_output(model: Model) -> set[int]:
    """`id` of every layer that mixes channels and whose result reaches an output unmixed.

    Their output channels are the model's own outputs, such as classes, and cannot go.
    """
    if not has_graph(model):
        mixing = [layer for _, layer in walk(model) if _mixes_channels(layer)]
        return {id(layer) for layer in mixing[-1:]}
    found: set[int] = set()
    _collect_before(model.outputs, found, set())
    return found


def _collect_before(tensors: list[Any], found: set[int], seen: set[int]) -> bool:
    """Walks back from tensors to the layers that mixed them; True if an input was reached."""
    reached = False
    for tensor in tensors:
        operation, node_index, _ = tensor._keras_history
        node = calls(operation)[node_index]
        if id(node) not in seen:
            seen.add(id(node))
            reached |= _collect_behind(operation, node, found, seen)
    return reached


def _collect_behind(operation: Any, node: Any, found: set[int], seen: set[int]) -> bool:
    if _mixes_channels(operation):
        found.add(id(operation))
        return False
    if isinstance(operation, keras.layers.InputLayer):
        return True
    if is_model(operation) and not has_graph(operation):
        found |= _layers_before_output(operation)
        return False
    if is_model(operation) and not _collect_before(operation.outputs, found, seen):
        return False
    return _collect_before(node.input_tensors, found, seen)


def _mixes_channels(operation: Any) -> bool:
    if is_model(operation) or type(operation).__name__.startswith("Depthwise"):
        return False
    return any(len(weight.shape) > 1 for weight in getattr(operation, "weights", ()))
