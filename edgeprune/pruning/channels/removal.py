"""Builds the smaller model: the same layers with the same names, and fewer channels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias, TypeVar

import keras
import numpy as np
import numpy.typing as npt

from edgeprune.core.errors import ModelError
from edgeprune.keras_model.calls import read_calls
from edgeprune.keras_model.copies import copy_layer, rebuild
from edgeprune.keras_model.layers import Layer, LayerMap, map_layers
from edgeprune.pruning.channels.rule import ChannelTensor, Labels, Size, Window
from edgeprune.pruning.channels.trace import Trace, TracedWeight

Kept = npt.NDArray[np.bool_]
"""bool `[channels]` by label; True keeps."""

Key = TypeVar("Key")

InputsLeft: TypeAlias = Mapping[tuple[str, int], tuple[int, Labels]]
"""By the key of a layer's call: the channel axis of its first input, counted with the batch axis,
and the positions along it that stay."""


def inputs_left(trace: Trace, kept: Kept) -> InputsLeft:
    """What stays of the first input of every call."""
    return {
        key: (tensors[0].axis + 1, np.flatnonzero(kept[tensors[0].labels]))
        for key, tensors in trace.tensors.items()
        if tensors
    }


def build_smaller(mapped: LayerMap, trace: Trace, kept: Kept) -> LayerMap:
    """Builds a model without the channels that are not kept; the weights left do not change.

    Args:
      mapped: the traced model or a copy of it; not changed.
      trace: the trace of the model.
      kept: bool `[channels]` by label; True keeps.

    Returns:
      A model with the layers, names and compilation of the one that was traced.

    Raises:
      ModelError: a layer cannot be rebuilt with fewer channels.
    """
    sizes = {path: _changed(found, kept) for path, found in trace.sizes.items()}
    arguments = {path: _changed(found, kept) for path, found in trace.arguments.items()}
    # The model may be a copy of the traced one: its operations are others with the same paths.
    paths = {id(call.operation): call.path for call in read_calls(mapped.model).calls}
    shapes = {
        path: [_shape(tensor, kept) for tensor in tensors] for path, tensors in trace.inputs.items()
    }
    moved: dict[int, Mapping[int, Any]] = {}

    def replace(layer: Layer) -> Layer:
        path = mapped.path_of(layer) or paths.get(id(layer), "")
        changed = sizes.get(path)
        new = _resized(layer, changed) if changed else copy_layer(layer)
        moved[id(new)] = arguments.get(path, {})
        return new

    def call(layer: Layer, *args: Any, **kwargs: Any) -> Any:
        args, kwargs = _with_arguments((args, kwargs), moved.get(id(layer), {}))
        return layer(*args, **kwargs)

    smaller = map_layers(rebuild(mapped.model, replace, shapes, call))
    _carry_weights(mapped, smaller, trace, kept)
    return smaller


def _changed(found: Mapping[Key, Size], kept: Kept) -> dict[Key, Any]:
    """The entries that are others once channels are removed."""
    whole = np.ones_like(kept)
    return {
        key: _value(size, kept)
        for key, size in found.items()
        if _value(size, kept) != _value(size, whole)
    }


def _value(size: Size, kept: Kept) -> Any:
    match size:
        case np.ndarray():
            return int(kept[size].sum())
        case ChannelTensor():
            return _shape(size, kept)
        case Window():
            return slice(_value(size.start, kept), _value(size.stop, kept), size.step)
        case tuple():
            return [_value(entry, kept) for entry in size]
    return size


def _with_arguments(given: tuple[Any, Any], changed: Mapping[int, Any]) -> tuple[Any, Any]:
    """The arguments of a call, some of them others, by their index."""
    if not changed:
        return given
    flat = keras.tree.flatten(given)
    arguments: tuple[Any, Any] = keras.tree.pack_sequence_as(
        given, [changed.get(index, value) for index, value in enumerate(flat)]
    )
    return arguments


def _shape(tensor: ChannelTensor, kept: Kept) -> tuple[int | None, ...]:
    if tensor.shape and tensor.shape[tensor.axis] is not None:
        left = int(kept[tensor.labels].sum())
        return (*tensor.shape[: tensor.axis], left, *tensor.shape[tensor.axis + 1 :])
    return tensor.shape


def _resized(layer: Layer, changed: Mapping[str, Any]) -> Layer:
    try:
        return type(layer).from_config({**layer.get_config(), **changed})
    except (NotImplementedError, TypeError, ValueError, AttributeError, KeyError) as error:
        raise ModelError(
            f"{layer.name}: this {type(layer).__name__} cannot be made with {dict(changed)} "
            f"({error}). Correct the rule that was given for it, or leave the layer out with "
            "--skip."
        ) from error


def _carry_weights(mapped: LayerMap, smaller: LayerMap, trace: Trace, kept: Kept) -> None:
    """Copies every weight without the positions of removed channels, in place."""
    cuts: dict[str, list[TracedWeight]] = {}
    for weight in trace.weights:
        cuts.setdefault(weight.path, []).append(weight)
    for path, layer in mapped.layers.items():
        taken = {id(variable): np.asarray(variable) for variable in layer.weights}
        for cut in cuts.get(path, []):
            variable = getattr(layer, cut.axis.weight)
            places = np.flatnonzero(kept[cut.axis.labels])
            taken[id(variable)] = np.take(taken[id(variable)], places, axis=cut.axis.axis)
        for variable, target in zip(layer.weights, smaller.layers[path].weights, strict=True):
            values = taken[id(variable)]
            if tuple(target.shape) != values.shape:
                raise ModelError(
                    f"{path}: without its removed channels, weight '{variable.name}' has shape "
                    f"{list(values.shape)}. Received: a layer built with {list(target.shape)}. "
                    "Correct the rule that was given for it, or leave the layer out with --skip."
                )
            target.assign(values)
