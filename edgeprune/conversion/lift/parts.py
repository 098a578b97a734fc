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
