"""The calls of a Keras model, one by one, in an order in which each finds its inputs ready."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import keras

from edgeprune.keras_model.interface import infer
from edgeprune.keras_model.layers import Model, functional, has_graph, is_model

Tensor = Any
"""A tensor of the Keras backend."""


@dataclass(frozen=True)
class Step:
    """One call of a layer or operation. A model whose graph Keras does not know is one step."""

    operation: Any
    inputs: tuple[int, ...]
    """Numbers of the values that it takes."""
    outputs: tuple[int, ...]
    run: Callable[[Sequence[Tensor]], list[Tensor]]
    """Runs it for inference on the values of `inputs`; gives those of `outputs`."""


@dataclass(frozen=True)
class Graph:
    """All calls of a model; values are numbered, those of the model's inputs first."""

    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    """Empty for a model whose graph Keras does not know."""
    steps: tuple[Step, ...]

    def last_uses(self) -> dict[int, int]:
        """For every value that a step takes, the index of the last one that does."""
        return {value: index for index, step in enumerate(self.steps) for value in step.inputs}


def read_graph(model: Model, inputs: int) -> Graph:
    """Lists the calls of a built model with so many inputs, nested models opened.

    Nested models that are subclassed, or called with more than their inputs, stay one step.
    """
    reader = _Reader()
    keys = tuple(reader.new() for _ in range(inputs))
    if has_graph(model):
        outputs = reader.read(model, keys)
    else:
        # Nothing takes its outputs, so that they are not kept.
        outputs = reader.add(model, keys, 0, lambda x: infer(model, list(x))[:0])
    return Graph(keys, tuple(outputs), tuple(reader.steps))


class _Reader:
    """Numbers values and collects steps."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self._values = 0

    def new(self) -> int:
        self._values += 1
        return self._values - 1

    def add(self, operation: Any, inputs: tuple[int, ...], outputs: int, run: Any) -> list[int]:
        keys = [self.new() for _ in range(outputs)]
        self.steps.append(Step(operation, inputs, tuple(keys), run))
        return keys

    def read(self, model: Model, inputs: Sequence[int]) -> list[int]:
        """Adds the steps of a model with a graph; returns the numbers of its outputs."""
        function = functional(model)
        keys = {id(tensor): key for tensor, key in zip(function.inputs, inputs, strict=True)}
        for node in _nodes(function):
            taken = [keys[id(tensor)] for tensor in node.input_tensors]
            if _opens(node):
                made = self.read(node.operation, taken)
            else:
                count = len(node.output_tensors)
                made = self.add(node.operation, tuple(taken), count, _runner(node))
            keys |= {id(t): key for t, key in zip(node.output_tensors, made, strict=True)}
        return [keys[id(tensor)] for tensor in function.outputs]


def _nodes(function: Any) -> list[Any]:
    """The calls in a functional model, inputs left out, in the order that Keras runs them."""
    depths = sorted(function._nodes_by_depth, reverse=True)
    nodes = [node for depth in depths for node in function._nodes_by_depth[depth]]
    return [node for node in nodes if not node.is_input]


def _opens(node: Any) -> bool:
    """Whether a call is one of a nested model, on its inputs alone."""
    model = node.operation
    if not is_model(model) or not has_graph(model):
        return False
    taken, wanted = node.input_tensors, functional(model).inputs
    flat = keras.tree.flatten((node.arguments.args, node.arguments.kwargs))
    return (
        len(flat) == len(taken) == len(wanted)
        and not node.arguments.kwargs
        and all(len(a.shape) == len(b.shape) for a, b in zip(taken, wanted, strict=True))
        and not any(isinstance(argument, dict) for argument in node.arguments.args)
    )


def _runner(node: Any) -> Callable[[Sequence[Tensor]], list[Tensor]]:
    operation = node.operation
    extra = {"training": False} if _takes_training(operation) else {}

    def run(values: Sequence[Tensor]) -> list[Tensor]:
        named = {id(t): value for t, value in zip(node.input_tensors, values, strict=True)}
        args, kwargs = node.arguments.fill_in(named)
        return list(keras.tree.flatten(operation(*args, **{**kwargs, **extra})))

    return run


def _takes_training(operation: Any) -> bool:
    return isinstance(operation, keras.layers.Layer) and operation._call_has_training_arg
