"""The interface of a Keras model: its inputs and outputs, inference, and custom training."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np

from edgeprune.core.arrays import Array
from edgeprune.core.data import InputSpec
from edgeprune.core.errors import ModelError
from edgeprune.core.spelling import with_article
from edgeprune.keras_model.layers import Model, functional, has_graph, is_model

PREDICT_BATCH = 64
"""Most samples in a batch of `predict`."""
PREDICT_PIXELS = 400_000
"""Most pixels in one, 8 images of 224x224: Keras holds on to all activations of a batch."""


def ends_in_softmax(model: Model) -> bool:
    """Whether the first output of a model is a softmax, that is, probabilities."""
    return softmax_ends(model)[0]


def softmax_ends(model: Model) -> tuple[bool, ...]:
    """Whether each output of a model is a softmax.

    For a subclassed model, whose graph is not known, this is whether its last layer is one.
    """
    return _ends(model, _is_softmax)


def sigmoid_ends(model: Model) -> tuple[bool, ...]:
    """Whether each output of a model is a sigmoid, that is, a probability by itself.

    For a subclassed model, as `softmax_ends`.
    """
    return _ends(model, _is_sigmoid)


def _ends(model: Model, holds: Callable[[Any], bool]) -> tuple[bool, ...]:
    """Whether something holds of the operation behind each output."""
    if not has_graph(model):
        last = model.layers[-1]
        return _ends(last, holds) if is_model(last) else (holds(last),)
    found = []
    for tensor in keras.tree.flatten(model.outputs):
        operation, _, index = tensor._keras_history
        ends = _ends(operation, holds) if is_model(operation) else (holds(operation),)
        found.append(ends[min(index, len(ends) - 1)])
    return tuple(found)


def _is_softmax(operation: Any) -> bool:
    return (
        type(operation).__name__ == "Softmax"
        or getattr(operation, "activation", None) is keras.activations.softmax
    )


def _is_sigmoid(operation: Any) -> bool:
    return (
        type(operation).__name__ == "Sigmoid"
        or getattr(operation, "activation", None) is keras.activations.sigmoid
    )


def input_specs(model: Model) -> tuple[InputSpec, ...]:
    """The inputs of a model, in its order.

    Raises:
      ModelError: the model does not declare its inputs (a subclassed one that was never called).
    """
    tensors = getattr(model, "inputs", None)
    if not tensors:
        raise ModelError(
            f"{model.name}: expected a model with known inputs. Received: "
            f"{with_article(type(model).__name__)} without any. Call it once on a keras.Input "
            "and make a Functional model of that."
        )
    return tuple(
        InputSpec(
            # Not the tensor's name, which changes whenever Keras rebuilds the model.
            tensor._keras_history.operation.name,
            tuple(tensor.shape[1:]),
            keras.backend.standardize_dtype(tensor.dtype),
        )
        for tensor in tensors
    )


def infer(model: Model, arrays: list[Any]) -> list[Any]:
    """Runs a model for inference.

    Args:
      model: a built Keras model.
      arrays: one array or tensor `[n, ...]` per input.

    Returns:
      One tensor `[n, ...]` per output.
    """
    return list(keras.tree.flatten(call_model(model, arrays, training=False)))


def call_model(model: Model, arrays: list[Any], *, training: bool) -> Any:
    """Calls a model on one array or tensor per input, in the structure that its inputs have.

    Args:
      model: any Keras model.
      arrays: one array or tensor `[n, ...]` per input, in the order of `input_specs`; a model
        whose inputs are a dict is called with a dict.
      training: as in `keras.Model.__call__`.
    """
    structure = _input_structure(model)
    if structure is not None:
        packed = keras.tree.pack_sequence_as(structure, arrays)
    else:
        packed = arrays if len(arrays) > 1 else arrays[0]
    return model(packed, training=training)


def _input_structure(model: Model) -> Any:
    """Keras' symbolic inputs as a model takes them: one, a list, a dict; None if not known."""
    known = isinstance(getattr(model, "inputs", None), list) and hasattr(model, "input")
    return model.input if known else None


def packer_of(model: Model) -> Callable[[Sequence[Any]], Any]:
    """What packs one array or tensor per input for `fit`: a dict where the model takes one.

    Keras refuses a list in place of a dict whose names are not in alphabetical order. Several
    inputs become a tuple, since `tf.data` makes one tensor of a list.
    """
    structure = _input_structure(model)
    if isinstance(structure, dict):
        return lambda parts: keras.tree.pack_sequence_as(structure, list(parts))
    return lambda parts: tuple(parts) if len(parts) > 1 else parts[0]


def output_packer(model: Model) -> Callable[[Sequence[Any]], Any]:
    """What packs one array or tensor per output for `fit`: a dict where the model gives one."""
    structure = getattr(functional(model), "_outputs_struct", None) if has_graph(model) else None
    if isinstance(structure, dict):
        return lambda parts: keras.tree.pack_sequence_as(structure, list(parts))
    return lambda parts: tuple(parts) if len(parts) > 1 else parts[0]


def output_names(model: Model) -> tuple[str, ...]:
    """A unique name for each output of a model."""
    names = list(getattr(model, "output_names", ()) or ["output_0"])
    return tuple(
        name if names.count(name) == 1 else f"{name}_{index}" for index, name in enumerate(names)
    )


def predict(model: Model, x: list[Array]) -> list[Array]:
    """Runs a model for inference, in batches; samples that need those before them in a single one.

    Args:
      model: a built Keras model.
      x: one array `[n, ...]` per input.

    Returns:
      One float32 array `[n, ...]` per output.
    """
    pixels = max(math.prod(array.shape[1:-1]) for array in x)
    size = min(PREDICT_BATCH, max(1, PREDICT_PIXELS // pixels))
    if any(getattr(layer, "joins_samples", False) for layer in model.layers):
        size = len(x[0])
    batches = [
        infer(model, [array[start : start + size] for array in x])
        for start in range(0, len(x[0]), size)
    ]
    return [
        np.concatenate([np.asarray(part, np.float32) for part in parts])
        for parts in zip(*batches, strict=True)
    ]


def own_training(model: Model) -> list[str]:
    """The names of the methods that a model overrides to customise training."""
    names = ("train_step", "compute_loss", "compute_metrics")
    return [name for name in names if getattr(type(model), name) is not getattr(keras.Model, name)]
