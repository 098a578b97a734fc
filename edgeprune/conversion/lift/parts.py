"""In which part of a lifted model a layer lies: between which islands."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras

from edgeprune.conversion.lift.island import Island
from edgeprune.keras_model.calls import read_calls
from edgeprune.keras_model.layers import Model


def parts_of(model: Model) -> Mapping[str, int]:
    """The part of each layer: the most islands on any way from an input to it.

    Args:
      model: a lifted model, or one that was pruned of it.

    Returns:
      By the name of the layer. An island that nothing leads into, as one that gives the first value
      of a variable, begins no part.
    """
    graph = read_calls(model)
    before = dict.fromkeys(graph.inputs, 0)
    found: dict[str, int] = {}
    for call in graph.calls:
        part = max((before[value] for value in call.inputs), default=0)
        found[call.path] = max(part, found.get(call.path, 0))
        behind = part + 1 if _leads_on(call.operation) else part
        before |= dict.fromkeys(call.outputs, behind)
    return found


def _leads_on(operation: object) -> bool:
    return isinstance(operation, Island) and operation.leads_on


def before_islands(model: Model) -> list[Any]:
    """The symbolic tensors that reach islands, each once, in an order that copies share."""
    reached = [
        tensor
        for layer in sorted(model.layers, key=lambda layer: str(layer.name))
        if _leads_on(layer)
        for tensor in keras.tree.flatten(layer.input)
    ]
    return list({id(tensor): tensor for tensor in reached}.values())


def learning_outputs(model: Model) -> tuple[bool, ...]:
    """Whether a loss of each output of a model reaches weights.

    None does where an island is the last that computes it, beside layers without weights.
    """
    graph = read_calls(model)
    reached = dict.fromkeys(graph.inputs, False)
    for call in graph.calls:
        trained = bool(getattr(call.operation, "trainable_weights", ()))
        reaches = trained or any(reached[value] for value in call.inputs)
        reached |= dict.fromkeys(call.outputs, reaches and not isinstance(call.operation, Island))
    return tuple(reached[value] for value in graph.outputs)


def judged_model(model: Model) -> Model:
    """A model of what shows how far a pruned one is from the dense one.

    Returns:
      The model itself where it has no islands; else one that gives its outputs that learn, and what
      reaches islands: a detection that comes or goes says little of the network before it.
    """
    reached = before_islands(model)
    if not reached:
        return model
    pairs = zip(keras.tree.flatten(model.output), learning_outputs(model), strict=True)
    return keras.Model(model.input, [*(output for output, learns in pairs if learns), *reached])
