"""The calls of a Keras model: the one walk over Keras' own graph, nested models opened.

Whoever asks where tensors go (channels, reconstruction, permutation, padding) reads the `CallGraph`
of a model, in which every value that flows has a number.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import keras

from edgeprune.keras_model.interface import infer
from edgeprune.keras_model.layers import Model, functional, has_graph, is_model

Tensor = Any
"""A tensor of the Keras backend."""
Value = TypeVar("Value")


@dataclass(frozen=True, eq=False)
class Call:
    """One call of a layer or operation; of a model that cannot be opened, the call of the whole."""

    path: str
    """Name of what is called, with those of the nested models around this call."""
    operation: Any
    node: Any
    """Keras' own record of the call; None for a model of which Keras knows no graph."""
    inputs: tuple[int, ...]
    """Numbers of the values that it takes, in the order of `node.input_tensors`."""
    outputs: tuple[int, ...]
    """Numbers of the values that it gives, in the order of `node.output_tensors`."""
    run: Callable[..., list[Tensor]]
    """Runs it on the values of `inputs`, for inference; with a second argument True for training.
    Gives the values of `outputs`."""

    @property
    def key(self) -> tuple[str, int]:
        """Tells this call from every other of the model; a copy of the model has it too."""
        return self.path, nodes_of(self.operation).index(self.node)

    @property
    def output_shapes(self) -> tuple[tuple[int | None, ...], ...]:
        """Shapes of what it gives, batch axis included; empty where Keras knows no graph."""
        return tuple(tuple(t.shape) for t in self.node.output_tensors) if self.node else ()


@dataclass(frozen=True, eq=False)
class CallGraph:
    """All calls behind a model's outputs, each after those that it depends on.

    A nested model whose calls are known is opened: its calls stand here in place of its own. One
    that is subclassed, or called with more than its inputs, stays one call.
    """

    inputs: tuple[int, ...]
    """Numbers of the model's inputs, in the order of `model.inputs`."""
    outputs: tuple[int, ...]
    """Numbers of its outputs; empty for a model of which Keras knows no graph."""
    calls: tuple[Call, ...]
    entered: tuple[tuple[str, tuple[int, ...]], ...]
    """For every call of a nested model that was opened: its path and what goes into it."""

    @cached_property
    def last_uses(self) -> Mapping[int, int]:
        """For every value that a call takes, the index of the last call that does."""
        return {value: index for index, call in enumerate(self.calls) for value in call.inputs}

    @cached_property
    def takers(self) -> Mapping[int, tuple[Call, ...]]:
        """The calls that take a value, by its number; values that none takes are not there."""
        found: dict[int, list[Call]] = {}
        for call in self.calls:
            for value in dict.fromkeys(call.inputs):
                found.setdefault(value, []).append(call)
        return {value: tuple(calls) for value, calls in found.items()}

    def calls_of(self, operation: Any) -> tuple[Call, ...]:
        """The calls of one layer or operation, in order."""
        return self._by_operation.get(id(operation), ())

    @cached_property
    def _by_operation(self) -> Mapping[int, tuple[Call, ...]]:
        found: dict[int, tuple[Call, ...]] = {}
        for call in self.calls:
            found[id(call.operation)] = (*found.get(id(call.operation), ()), call)
        return found

    def readers_of(self, operation: Any) -> tuple[Call, ...]:
        """The calls that take what a layer or operation gives, at any of its calls."""
        values = (value for call in self.calls_of(operation) for value in call.outputs)
        return tuple(taker for value in values for taker in self.takers.get(value, ()))

    def apply(
        self, values: Sequence[Value], function: Callable[[Call, list[Value]], Sequence[Value]]
    ) -> list[Value]:
        """Gives what comes out of the model if each call turns values into values by a function.

        Args:
          values: one per input of the model.
          function: given a call and the values that it takes; returns those that it gives.

        Returns:
          One value per output. Values are let go of once nothing needs them any more.
        """
        known = dict(zip(self.inputs, values, strict=True))
        for index, call in enumerate(self.calls):
            given = [known[value] for value in call.inputs]
            known.update(zip(call.outputs, function(call, given), strict=True))
            for value in set(call.inputs):
                if self.last_uses[value] == index and value not in self.outputs:
                    known.pop(value, None)
        return [known[value] for value in self.outputs]


def read_calls(model: Model, inputs: int | None = None) -> CallGraph:
    """Lists the calls of a built model.

    Args:
      model: of any kind.
      inputs: how many inputs it has; needed only for a model of which Keras knows no graph.
    """
    reader = _Reader()
    if has_graph(model):
        numbers = tuple(reader.new() for _ in functional(model).inputs)
        outputs = reader.read(model, numbers, "")
    else:
        numbers = tuple(reader.new() for _ in range(inputs or 0))
        outputs = []
        # Nothing takes its outputs, so that they are not kept.
        reader.add(model.name, model, None, numbers, lambda x, _=False: infer(model, list(x))[:0])
    return CallGraph(numbers, tuple(outputs), tuple(reader.calls), tuple(reader.entered))


class _Reader:
    """Numbers values and collects calls."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.entered: list[tuple[str, tuple[int, ...]]] = []
        self._values = 0

    def new(self) -> int:
        self._values += 1
        return self._values - 1

    def add(self, path: str, operation: Any, node: Any, inputs: Sequence[int], run: Any) -> Call:
        outputs = tuple(self.new() for _ in (node.output_tensors if node else ()))
        self.calls.append(Call(path, operation, node, tuple(inputs), outputs, run))
        return self.calls[-1]

    def read(self, model: Model, inputs: Sequence[int], prefix: str) -> list[int]:
        """Adds the calls of a model with a graph; returns the numbers of its outputs."""
        function = functional(model)
        numbers = {id(tensor): value for tensor, value in zip(function.inputs, inputs, strict=True)}
        for node in _ordered(function):
            path = f"{prefix}{node.operation.name}"
            entering = _entering(node)
            if entering is not None:
                given = tuple(numbers[id(tensor)] for tensor in entering)
                self.entered.append((path, given))
                made: Sequence[int] = self.read(node.operation, given, f"{path}/")
            else:
                given = tuple(numbers[id(tensor)] for tensor in node.input_tensors)
                made = self.add(path, node.operation, node, given, _runner(node)).outputs
            numbers |= {id(t): value for t, value in zip(node.output_tensors, made, strict=True)}
        return [numbers[id(tensor)] for tensor in function.outputs]


def _ordered(function: Any) -> Iterator[Any]:
    """The calls behind a functional model's outputs, each after those that it depends on."""
    done = set(map(id, function.inputs))
    waiting = list(reversed(function.outputs))
    while waiting:
        tensor = waiting[-1]
        if id(tensor) in done:
            waiting.pop()
            continue
        operation, index, _ = tensor._keras_history
        node = nodes_of(operation)[index]
        missing = [needed for needed in node.input_tensors if id(needed) not in done]
        if missing:
            waiting.extend(reversed(missing))
            continue
        done.update(map(id, node.output_tensors))
        yield node


def nodes_of(operation: Any) -> list[Any]:
    """Keras' records of the calls of a layer, those of other models too; it keeps them there."""
    return list(operation._inbound_nodes)


def _entering(node: Any) -> list[Tensor] | None:
    """The tensors that a nested model is called on, in the order of its inputs.

    None for what is not opened: no model with a graph, or one that is called with more than its
    inputs (`training=True`, a mask), or on tensors that Keras would reshape first.
    """
    if not is_model(node.operation) or not has_graph(node.operation):
        return None
    positional, named = node.arguments.args, dict(node.arguments.kwargs)
    first = positional[0] if positional else named.pop("inputs", None)
    # Keras notes a structure of Nones as the mask of several inputs.
    more = keras.tree.flatten((list(positional[1:]), named))
    if any(value is not None and value is not False for value in more):
        return None
    wanted = functional(node.operation).inputs
    tensors = _in_order(first, node.operation)
    known = set(map(id, node.input_tensors))
    fits = len(tensors) == len(wanted) and all(
        id(a) in known and len(a.shape) == len(b.shape)
        for a, b in zip(tensors, wanted, strict=True)
    )
    return tensors if fits else None


def _in_order(given: Any, model: Model) -> list[Tensor]:
    """What a model is called on, flat: a dict for a model that takes a list goes by input names."""
    structure = functional(model)._inputs_struct
    if isinstance(given, dict) and not isinstance(structure, dict):
        names = [tensor.name for tensor in functional(model).inputs]
        return [given[name] for name in names] if set(names) <= set(given) else []
    return list(keras.tree.flatten(given))


def _runner(node: Any) -> Callable[..., list[Tensor]]:
    operation = node.operation
    takes_training = _takes_training(operation)

    def run(values: Sequence[Tensor], training: bool | None = False) -> list[Tensor]:
        extra = {"training": training} if takes_training else {}
        named = {id(t): value for t, value in zip(node.input_tensors, values, strict=True)}
        arguments, options = node.arguments.fill_in(named)
        return list(keras.tree.flatten(operation(*arguments, **{**options, **extra})))

    return run


def _takes_training(operation: Any) -> bool:
    return isinstance(operation, keras.layers.Layer) and operation._call_has_training_arg
