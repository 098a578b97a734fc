"""Runs through the graph of a Keras model, nested models opened, with values of any kind.

The values may be tensors, to compute what flows through the network, or what is known of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import keras

from edgeprune.keras_model.layers import Model, calls, can_rebuild, is_model

Value = TypeVar("Value")


@dataclass(frozen=True)
class Call:
    """One call of a layer or operation."""

    path: str
    """Names of the nested models around it included, as `keras_model.walk` has them."""
    operation: Any
    node: Any
    """Keras' own record of the call."""

    @property
    def key(self) -> tuple[str, int]:
        """Tells this call from every other of the model; a copy of the model has it too."""
        return self.path, calls(self.operation).index(self.node)


def run(
    model: Model,
    values: Sequence[Value],
    apply: Callable[[Call, list[Value]], Sequence[Value]],
    prefix: str = "",
    enter: Callable[[str, Sequence[Value]], None] = lambda *_: None,
) -> list[Value]:
    """Gives what comes out of a model if each call turns values into values by `apply`.

    Args:
      model: Sequential or Functional.
      values: one per input of the model.
      apply: given a call and the values of its tensors, in the order of `node.input_tensors`;
        returns one for each that comes out.
      prefix: the path of the model itself.
      enter: told the path of each nested model and the values that go into it.

    Returns:
      One value per output of the model. Values are let go of once nothing needs them any more.
    """
    known = dict(zip(map(id, model.inputs), values, strict=True))
    nodes = list(_ordered(model))
    last_use = {id(t): at for at, node in enumerate(nodes) for t in node.input_tensors}
    kept = set(map(id, model.outputs))
    for at, node in enumerate(nodes):
        given = [known[id(tensor)] for tensor in node.input_tensors]
        path = f"{prefix}{node.operation.name}"
        if is_model(node.operation) and can_rebuild(node.operation):
            enter(path, given)
            made: Sequence[Value] = run(node.operation, given, apply, f"{path}/", enter)
        else:
            made = apply(Call(path, node.operation, node), given)
        known.update(zip(map(id, node.output_tensors), made, strict=True))
        for tensor in node.input_tensors:
            if last_use[id(tensor)] == at and id(tensor) not in kept:
                known.pop(id(tensor), None)
    return [known[id(tensor)] for tensor in model.outputs]


def _ordered(model: Model) -> Iterator[Any]:
    """The calls behind a model's outputs, each after those that it depends on."""
    done = set(map(id, model.inputs))
    waiting = list(reversed(model.outputs))
    while waiting:
        tensor = waiting[-1]
        if id(tensor) in done:
            waiting.pop()
            continue
        operation, index, _ = tensor._keras_history
        node = calls(operation)[index]
        missing = [needed for needed in node.input_tensors if id(needed) not in done]
        if missing:
            waiting.extend(reversed(missing))
            continue
        done.update(map(id, node.output_tensors))
        yield node


def compute(call: Call, tensors: Sequence[Any]) -> list[Any]:
    """Runs a call on tensors, for inference; returns what comes out, flat."""
    by_id = dict(zip(map(id, call.node.input_tensors), tensors, strict=True))
    arguments, options = call.node.arguments.fill_in(by_id)
    return list(keras.tree.flatten(call.operation(*arguments, **options)))
