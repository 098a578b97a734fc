"""Activations: replaces costly ones by cheaper ones of nearly the same shape, before training.

Swish and its kin need an exponential for every value of a map; in a network whose convolutions are
sparse they may cost more than these. Hard swish is a clamp and two products, and ReLU6 joins the
convolution in front of it:

    swish       x * sigmoid(x)                  silu, gelu, mish, Multiply([x, sigmoid(x)])
    hard-swish  x * min(max(x + 3, 0), 6) / 6
    relu6       min(max(x, 0), 6)

The function changes, so a model should be trained afterwards. On single positions, as in
squeeze-and-excite, where an activation costs nothing, all stay.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import keras

from edgeprune.core.errors import ModelError
from edgeprune.core.plan import ActivationPlan
from edgeprune.core.terms import CheaperActivation
from edgeprune.keras_model.calls import Call, CallGraph, read_calls
from edgeprune.keras_model.copies import copy_layer, copy_model, rewire
from edgeprune.keras_model.layers import Layer, LayerMap, Model, can_rebuild, is_model

KERAS_NAMES: Mapping[CheaperActivation, str] = {"hard-swish": "hard_silu", "relu6": "relu6"}
"""What Keras calls the activations that are put in."""

_COSTLY = ("silu", "gelu", "mish")
_REPLACED: Mapping[CheaperActivation, tuple[str, ...]] = {
    "hard-swish": _COSTLY,
    "relu6": (*_COSTLY, "hard_silu"),
}
_OPERATIONS = {"Silu": "silu", "Gelu": "gelu", "Mish": "mish", "HardSilu": "hard_silu"}
"""Functions that are called on a tensor, by the class of the operation that Keras makes of that."""
_KINDS = (
    keras.layers.Activation,
    keras.layers.Dense,
    keras.layers.EinsumDense,
    keras.layers.Conv1D,
    keras.layers.Conv2D,
    keras.layers.Conv3D,
    keras.layers.DepthwiseConv1D,
    keras.layers.DepthwiseConv2D,
    keras.layers.SeparableConv1D,
    keras.layers.SeparableConv2D,
    keras.layers.Conv1DTranspose,
    keras.layers.Conv2DTranspose,
)
_PRODUCT = "x * sigmoid(x)"


@dataclass(frozen=True, eq=False)
class _Found:
    """A layer or operation with a costly activation; of a product, which factor the x is."""

    path: str
    operation: Layer
    before: str
    factor: int | None = None


def find_activations(mapped: LayerMap, cheaper: CheaperActivation) -> tuple[ActivationPlan, ...]:
    """Lists the activations on maps that another one would replace.

    Left out are those inside subclassed models and layers, and those on a single position.
    """
    return tuple(
        ActivationPlan(path=found.path, before=found.before, after=cheaper)
        for found in _find(read_calls(mapped.model), cheaper)
    )


def replace_activations(model: Model, rows: Iterable[ActivationPlan]) -> Model:
    """Returns a new model with the activations of the rows replaced.

    Weights, names and compilation are carried over; a product `x * sigmoid(x)` becomes an
    `Activation` of its name.

    Args:
      model: Sequential or Functional, nested or not.
      rows: as `find_activations` lists them; those that are done already are passed over.

    Raises:
      ModelError: a row names a layer without such an activation, or the model is subclassed.
    """
    graph = read_calls(model)
    chosen: dict[int, tuple[_Found, str]] = {}
    for row in rows:
        known = {found.path: found for found in _find(graph, row.after)}
        if row.path in known and known[row.path].before == row.before:
            chosen[id(known[row.path].operation)] = known[row.path], KERAS_NAMES[row.after]
        elif not _is_done(row, graph):
            raise ModelError(
                f"{row.path}: expected a layer with the activation {row.before}. Received: a model "
                "without. Make a new plan for this model."
            )
    if not chosen:
        return copy_model(model)
    pairs: list[tuple[Layer, Layer]] = []
    copy = _rebuilt(model, chosen, pairs)
    for old, new in pairs:
        if getattr(old, "weights", ()):
            new.set_weights(old.get_weights())
    return copy


def _find(graph: CallGraph, cheaper: CheaperActivation) -> Iterator[_Found]:
    makers = {value: call for call in graph.calls for value in call.outputs}
    seen: set[int] = set()
    for call in graph.calls:
        if id(call.operation) in seen:
            continue
        seen.add(id(call.operation))
        found = _of_call(call, makers, cheaper)
        if found is not None and all(map(_on_positions, graph.calls_of(call.operation))):
            yield found


def _of_call(call: Call, makers: Mapping[int, Call], cheaper: CheaperActivation) -> _Found | None:
    name = _activation_of(call.operation)
    if name in _REPLACED[cheaper]:
        return _Found(call.path, call.operation, name)
    factor = _swish_factor(call, makers)
    return None if factor is None else _Found(call.path, call.operation, _PRODUCT, factor)


def _activation_of(operation: Layer) -> str:
    """The name of an activation that can be replaced by another; empty where there is none."""
    if not isinstance(operation, keras.layers.Layer):
        return _OPERATIONS.get(type(operation).__name__, "")
    function = operation.activation if type(operation) in _KINDS else None
    return getattr(function, "__name__", "") if function is not None else ""


def _swish_factor(call: Call, makers: Mapping[int, Call]) -> int | None:
    """The input that is the value, of a product of a value and its own sigmoid; else None."""
    if type(call.operation).__name__ != "Multiply" or len(call.inputs) != 2:
        return None
    for place, value in enumerate(call.inputs):
        gate = makers.get(call.inputs[1 - place])
        if gate is not None and gate.inputs == (value,) and _is_sigmoid(gate.operation):
            return place
    return None


def _is_sigmoid(operation: Layer) -> bool:
    if isinstance(operation, keras.layers.Activation):
        return operation.activation is keras.activations.sigmoid
    return type(operation).__name__ == "Sigmoid"


def _on_positions(call: Call) -> bool:
    """Whether a call's results have several positions, or a number that is not known."""
    return any(length != 1 for shape in call.output_shapes for length in shape[1:-1])


def _is_done(row: ActivationPlan, graph: CallGraph) -> bool:
    wanted = KERAS_NAMES[row.after]
    return any(
        call.path == row.path and _activation_of(call.operation) == wanted for call in graph.calls
    )


def _rebuilt(
    model: Model, chosen: Mapping[int, tuple[_Found, str]], pairs: list[tuple[Layer, Layer]]
) -> Model:
    factors: dict[int, int] = {}

    def new(layer: Layer) -> Layer:
        if is_model(layer) and can_rebuild(layer):
            return _rebuilt(layer, chosen, pairs)
        made = _replacement(layer, chosen)
        pairs.append((layer, made))
        factor = chosen[id(layer)][0].factor if id(layer) in chosen else None
        if factor is not None:
            factors[id(made)] = factor
        return made

    def call(layer: Layer, *args: Any, **kwargs: Any) -> Any:
        factor = factors.get(id(layer))
        if factor is None:
            return layer(*args, **kwargs)
        return layer(keras.tree.flatten((args, kwargs))[factor])

    return rewire(model, new, call)


def _replacement(layer: Layer, chosen: Mapping[int, tuple[_Found, str]]) -> Layer:
    if id(layer) not in chosen:
        return copy_layer(layer)
    found, name = chosen[id(layer)]
    if found.factor is not None or not isinstance(layer, keras.layers.Layer):
        return keras.layers.Activation(name, name=layer.name)
    return type(layer).from_config({**layer.get_config(), "activation": name})
