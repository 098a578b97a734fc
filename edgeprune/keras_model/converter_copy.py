"""The copy of a Keras model that TensorFlow's converter takes, where it does not take the model.

The copy computes the same in float32: recurrent layers are unrolled, layers of other precisions
compute in float32, and layers have names that TensorFlow allows.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import keras

from edgeprune.core.errors import ModelError
from edgeprune.core.spelling import with_article
from edgeprune.keras_model.calls import nodes_of
from edgeprune.keras_model.copies import copy_model
from edgeprune.keras_model.layers import Layer, LayerMap, Model, layers_inside, map_layers

MOST_STEPS = 512
"""Steps over time that a layer is unrolled for; 400 of a small LSTM took the converter 14 s, and
the time grows with their square."""
_LOWER = frozenset({"float16", "bfloat16"})
_REFUSED = re.compile(r"[^A-Za-z0-9_.-]")
"""What TensorFlow refuses in the names of operators, which begin with the names of layers."""


@dataclass(frozen=True)
class Loop:
    """A recurrent layer that runs its cell in a loop over time."""

    path: str
    kind: str
    steps: int | None
    """How often the cell runs for one sample; None where the shape does not say."""


def find_loops(mapped: LayerMap) -> tuple[Loop, ...]:
    """The layers of a model that run a loop over time, and are not unrolled."""
    return tuple(
        Loop(path, type(layer).__name__, _steps(layer))
        for path, layer in mapped.layers.items()
        if any(not recurrent.unroll for recurrent in _recurrent(layer))
    )


def require_stateless(mapped: LayerMap) -> None:
    """Checks that no layer keeps a state from one batch to the next.

    Raises:
      ModelError: one does; a .tflite file has no place for that state.
    """
    for path, layer in mapped.layers.items():
        if any(recurrent.stateful for recurrent in _recurrent(layer)):
            kind = type(layer).__name__
            raise ModelError(
                f"{path}: expected layers that begin every sample from a zero state. Received: "
                f"{with_article(kind)} with stateful=True, whose state would be lost in a .tflite "
                "file. Build the model with stateful=False and copy the weights with set_weights; "
                "to carry the state yourself, make it an input (initial_state=) and an output "
                "(return_state=True) of the model."
            )


def for_converter(model: Model, *, unroll: bool) -> Model:
    """A model that computes the same in a form that TensorFlow's converter takes.

    Args:
      model: a built Keras model.
      unroll: whether recurrent layers must not run loops.

    Returns:
      The model itself if nothing about it has to change, else a changed copy.

    Raises:
      ModelError: the model cannot be copied, or a layer has too many steps to be unrolled.
    """
    unrolled = find_loops(map_layers(model)) if unroll else ()
    for loop in unrolled:
        _require_few_steps(loop)
    names = _new_names(model)
    lower = any(map(_computes_lower, layers_inside(model)))
    if not (unrolled or names or lower):
        return model
    copy = copy_model(model)
    for layer in layers_inside(copy):
        _change(layer, names, unroll=bool(unrolled))
    for variable in copy.variables:
        if names or variable.dtype in _LOWER:
            _renew(variable)
    return copy


def _change(layer: Layer, names: Mapping[str, str], *, unroll: bool) -> None:
    """Changes a layer of the copy in place."""
    layer.name = names.get(layer.name, layer.name)
    if _computes_lower(layer):
        layer.dtype_policy = "float32"
    if unroll and isinstance(layer, keras.layers.RNN):
        layer.unroll = True


def _renew(variable: Any) -> None:
    """Makes a Keras variable's TensorFlow variable again, which is named after layers around it.

    The new one is named after the variable alone, and holds 32 bits in place of 16.
    """
    values = variable.numpy()
    if variable.dtype in _LOWER:
        variable._dtype = "float32"
        values = values.astype("float32")
    variable._initialize(values)


def _recurrent(layer: Layer) -> Iterator[Layer]:
    """The recurrent layers within a layer, such as both of a Bidirectional; itself too."""
    return (inner for inner in layers_inside(layer) if isinstance(inner, keras.layers.RNN))


def _steps(layer: Layer) -> int | None:
    axes = 2 if isinstance(layer, keras.layers.TimeDistributed) else 1
    shapes = [node.input_tensors[0].shape for node in nodes_of(layer) if node.input_tensors]
    if not shapes or any(None in shape[1 : 1 + axes] for shape in shapes):
        return None
    return max(int(math.prod(shape[1 : 1 + axes])) for shape in shapes)


def _require_few_steps(loop: Loop) -> None:
    if loop.steps is not None and loop.steps > MOST_STEPS:
        raise ModelError(
            f"{loop.path}: in int8 TensorFlow's converter takes {with_article(loop.kind)} only "
            f"unrolled, which makes a copy of its operators for every step: up to {MOST_STEPS} "
            f"steps are unrolled. Received: {loop.steps} steps. Make the sequence shorter (strided "
            "convolutions or pooling before the layer), or unroll it yourself with unroll=True."
        )


def _computes_lower(layer: Layer) -> bool:
    """Whether a layer computes in 16 bits, or holds weights in 16 bits."""
    policy = layer.dtype_policy
    return not _LOWER.isdisjoint({policy.compute_dtype, policy.variable_dtype})


def _new_names(model: Model) -> dict[str, str]:
    """New names for the layers whose names TensorFlow refuses; unique in the model."""
    names = [
        layer.name
        for layer in layers_inside(model)
        if not isinstance(layer, keras.layers.InputLayer)  # it has no scope, and names the input
    ]
    taken, found = set(names), {}
    for name in names:
        allowed = _allowed(name)
        if allowed == name or name in found:
            continue
        number = 1
        while (unique := allowed if number == 1 else f"{allowed}_{number}") in taken:
            number += 1
        taken.add(unique)
        found[name] = unique
    return found


def _allowed(name: str) -> str:
    """The name that is nearest to a given one among those that TensorFlow allows."""
    plain = _REFUSED.sub("_", name)
    return plain if re.match(r"[A-Za-z0-9.]", plain) else f"layer{plain}"
