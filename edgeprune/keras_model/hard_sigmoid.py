"""Keras 2's hard sigmoid in models that Keras 3 loads, which defines it otherwise.

Keras 2 computes `clip(0.2 x + 0.5, 0, 1)`, Keras 3 `clip(x / 6 + 0.5, 0, 1)`: the first of `x` is
the second of `1.2 x`. So where a layer multiplies by weights before the activation, 1.2 goes into
them; an `Activation` becomes `Rescaling` and `ReLU`. The model stays one of Keras' own layers.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from edgeprune.core.arrays import Array
from edgeprune.core.errors import ModelError
from edgeprune.core.spelling import with_article
from edgeprune.keras_model.copies import copy_layer, rebuild
from edgeprune.keras_model.layers import Layer, Model, can_rebuild, layers_inside

_STEEPER = 1.2
_GATES = {"LSTMCell": (1, 1, 0, 1), "ConvLSTMCell": (1, 1, 0, 1), "GRUCell": (1, 1, 0)}
"""By kind of cell, which blocks of its weights the recurrent activation follows."""
_WEIGHTED = ("Dense", "Conv", "DepthwiseConv", "SeparableConv", "EinsumDense", "SimpleRNNCell")


def as_in_keras2(model: Model) -> Model:
    """The model with Keras 2's hard sigmoid; weights change in place.

    Args:
      model: as Keras 3 loads it from a file of Keras 2; nobody else may use it.

    Raises:
      ModelError: a layer uses the function where it cannot be replaced.
    """
    for layer in layers_inside(model):
        _steepen(layer)
    if not any(map(_is_activation, layers_inside(model))):
        return model
    if not can_rebuild(model):
        raise _irreplaceable(next(filter(_is_activation, layers_inside(model))))
    made = rebuild(model, _replacement)
    made.set_weights(model.get_weights())
    for layer in filter(_is_activation, layers_inside(made)):
        raise _irreplaceable(layer)
    return made


def _is_hard(function: Any) -> bool:
    return function is keras.activations.hard_sigmoid


def _is_activation(layer: Layer) -> bool:
    return isinstance(layer, keras.layers.Activation) and _is_hard(layer.activation)


def _replacement(layer: Layer) -> Layer:
    if not _is_activation(layer):
        return copy_layer(layer)
    explicit = [keras.layers.Rescaling(0.2, 0.5), keras.layers.ReLU(1.0)]
    return keras.Sequential(explicit, name=layer.name)


def _steepen(layer: Layer) -> None:
    """Puts the factor into the weights before a hard sigmoid, if the layer has one."""
    kind = type(layer).__name__
    if kind in _GATES and _is_hard(layer.recurrent_activation):
        _scale(layer, np.repeat(np.where(_GATES[kind], _STEEPER, 1.0), _units(layer)))
    inside = not isinstance(layer, keras.layers.RNN | keras.layers.Activation)
    if inside and _is_hard(getattr(layer, "activation", None)):
        if not kind.startswith(_WEIGHTED):
            raise _irreplaceable(layer)
        _scale(layer, np.array(_STEEPER))


def _units(cell: Layer) -> int:
    return int(cell.recurrent_kernel.shape[-1]) // len(_GATES[type(cell).__name__])


def _scale(layer: Layer, factors: Array) -> None:
    """Multiplies the weights before a layer's activation, along their last axis."""
    names = ("kernel", "recurrent_kernel", "pointwise_kernel", "bias")
    separable = hasattr(layer, "pointwise_kernel")
    for name in names[1:] if separable else names:
        variable = getattr(layer, name, None)
        if variable is not None:
            variable.assign(variable.numpy() * factors)


def _irreplaceable(layer: Layer) -> ModelError:
    return ModelError(
        f"{layer.name}: expected a layer that computes in Keras {keras.__version__} as in Keras 2. "
        f"Received: {with_article(type(layer).__name__)} with Keras 2's hard_sigmoid, which is "
        "another function now, in a place where it cannot be replaced. Build this layer with "
        "clip(0.2 * x + 0.5, 0, 1) in Keras 3, and copy the weights."
    )
