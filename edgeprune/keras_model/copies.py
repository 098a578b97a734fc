"""Copies of Keras models and layers: exact ones, or with other layers in the same graph."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import keras

from edgeprune.core.errors import ModelError
from edgeprune.keras_model.layers import Layer, Model, can_rebuild, is_model


def copy_model(model: Model) -> Model:
    """A new model with the same architecture, weights and compilation; shares nothing with `model`.

    Raises:
      ModelError: a subclassed model that cannot be recreated from its configuration.
    """
    try:
        with keras.saving.custom_object_scope(_compiled_with(model)):
            if can_rebuild(model):
                copy = keras.models.clone_model(model)
            else:
                copy = type(model).from_config(model.get_config())
                copy.build_from_config(model.get_build_config())
        _restore_names(model, copy)
        copy.set_weights(model.get_weights())
        if not copy.compiled:
            compile_as(copy, model)
    except (NotImplementedError, TypeError, ValueError, AttributeError) as error:
        raise ModelError(
            f"{model.name}: this {type(model).__name__} cannot be copied ({error}). Give it "
            "get_config and build_from_config as Keras describes for subclassed models, or "
            "rebuild it as a Functional model."
        ) from error
    return copy


def copy_layer(layer: Layer) -> Layer:
    """A new layer with the same configuration, without weights; models are copied by `copy_model`.

    Raises:
      ModelError: a layer that cannot be recreated from its configuration.
    """
    if is_model(layer):
        return copy_model(layer)
    try:
        return type(layer).from_config(layer.get_config())
    except (NotImplementedError, TypeError, ValueError, AttributeError, KeyError) as error:
        raise ModelError(
            f"{layer.name}: this {type(layer).__name__} cannot be copied ({error}). Give it "
            "get_config and from_config as Keras describes for custom layers."
        ) from error


def rebuild(
    model: Model,
    replace: Callable[[Layer], Layer],
    shapes: Mapping[str, Sequence[tuple[int | None, ...]]] = MappingProxyType({}),
    call: Callable[..., Any] | None = None,
) -> Model:
    """A new model with the same graph, in which `replace(layer)` replaces each layer.

    Nested models with a graph are rebuilt too, and a shared layer is replaced once. The new model
    is compiled like the old one; copying weights is left to the caller.

    Args:
      model: Sequential or Functional, see `can_rebuild`.
      replace: makes the new layer; called with every layer and operation except inputs.
      shapes: new input shapes of nested models, without the batch axis, by their path; all other
        models keep theirs.
      call: given the new layer and what the old one was called with; returns what it gives. By
        default calls the layer. Not asked in a Sequential model.

    Raises:
      ModelError: the graph cannot be built with those layers, or compiled as before.
    """
    try:
        with keras.saving.custom_object_scope(_compiled_with(model)):
            copy = _clone(model, replace, shapes, call, "", {})
    except (NotImplementedError, TypeError, ValueError, AttributeError, KeyError) as error:
        raise ModelError(
            f"{model.name}: this model cannot be built again from its layers ({error}). If its "
            "loss or metrics are what fails, give them as named functions, or compile it later."
        ) from error
    _restore_names(model, copy)
    return copy


def rewire(model: Model, new: Callable[[Layer], Layer], call: Callable[..., Any]) -> Model:
    """A new model with the same graph, in which `new(layer)` replaces each layer, called by `call`.

    Nested models are handed to `new` as they are. The new model is compiled like the old one;
    copying weights is left to the caller.

    Args:
      model: Sequential or Functional, see `can_rebuild`.
      new: makes the new layer; called once with every layer and operation except inputs.
      call: given the new layer and what the old one was called with; returns what it gives. Not
        asked in a Sequential model, whose layers take what the one before gives.
    """
    with keras.saving.custom_object_scope(_compiled_with(model)):
        if isinstance(model, keras.Sequential):
            copy = keras.models.clone_model(model, clone_function=new)
        else:
            copy = keras.models.clone_model(model, clone_function=new, call_function=call)
    # Keras gives inputs new names when it clones a graph.
    for old, other in zip(_inputs(model), _inputs(copy), strict=True):
        other.name = old.name
    _restore_output_names(model, copy)
    if not copy.compiled:
        compile_as(copy, model)
    return copy


def _inputs(model: Model) -> list[Layer]:
    return [layer for layer in model.layers if isinstance(layer, keras.layers.InputLayer)]


def _clone(
    model: Model,
    replace: Callable[[Layer], Layer],
    shapes: Mapping[str, Sequence[tuple[int | None, ...]]],
    call: Callable[..., Any] | None,
    prefix: str,
    made: dict[int, Layer],
) -> Model:
    """The recursion of `rebuild`; `made` holds the new layers by the `id` of the old."""

    def new(layer: Layer) -> Layer:
        if id(layer) not in made:
            nested = is_model(layer) and can_rebuild(layer)
            path = f"{prefix}{layer.name}"
            made[id(layer)] = (
                _clone(layer, replace, shapes, call, f"{path}/", made) if nested else replace(layer)
            )
        return made[id(layer)]

    given = shapes.get(prefix.removesuffix("/"))
    inputs = None
    if given is not None:
        tensors = [
            keras.Input(shape, dtype=tensor.dtype, name=tensor._keras_history.operation.name)
            for shape, tensor in zip(given, model.inputs, strict=True)
        ]
        inputs = keras.tree.pack_sequence_as(model.input, tensors)
    if isinstance(model, keras.Sequential):
        return keras.models.clone_model(model, input_tensors=inputs, clone_function=new)
    return keras.models.clone_model(
        model, input_tensors=inputs, clone_function=new, call_function=call
    )


def _restore_names(model: Model, copy: Model) -> None:
    """Gives the layers of a copy their original names, in place.

    Keras renames input layers when it clones a graph, and generates new names for the layers of a
    subclassed model that does not set them.
    """
    _restore_output_names(model, copy)
    for layer, other in zip(model.layers, copy.layers, strict=True):
        if type(layer) is type(other):
            other.name = layer.name
        if is_model(layer) and is_model(other):
            _restore_names(layer, other)


def _restore_output_names(model: Model, copy: Model) -> None:
    """Gives the outputs of a copy their original names, in place.

    Keras names them after their layers; those of a .tflite file are named by its signature.
    """
    names = getattr(model, "output_names", None)
    if names:
        copy.output_names = list(names)


def compile_as(copy: Model, model: Model) -> None:
    """Compiles `copy` like `model`, in place; does nothing if `model` is not compiled."""
    compilation = model.get_compile_config() if model.compiled else None
    if compilation:
        with keras.saving.custom_object_scope(_compiled_with(model)):
            copy.compile_from_config(compilation)


def _compiled_with(model: Model) -> dict[str, Any]:
    """User-defined classes and functions that a model was compiled with, by name."""
    # Keras keeps the arguments of compile() here, to save them.
    arguments = getattr(model, "_compile_config", None)
    parts = keras.tree.flatten(arguments.config) if arguments else []
    named = [part if inspect.isfunction(part) else type(part) for part in parts]
    return {
        part.__name__: part
        for part in named
        if not part.__module__.startswith(("keras", "builtins"))
    }
