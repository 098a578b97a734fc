"""The values of a model, one after the other: inputs, what calls give, and what activations take.

A layer with an activation of its own makes two values: the one that its activation takes is a
tensor of the file too, unless the converter fuses the two.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import keras

from edgeprune.keras_model.calls import Call, CallGraph, Tensor
from edgeprune.keras_model.layers import Layer
from edgeprune.pruning.training.wrapper import unwrapped

INPUTS = -1
"""The call that stands for the inputs of the model."""
BEFORE_ACTIVATION = -1
"""The output that stands for what the activation of a layer takes."""


@dataclass(frozen=True, order=True)
class Place:
    """Where a value is in a model; the same in every model with that graph, wrapped or not."""

    call: int
    """Number of the call in the `CallGraph`, or `INPUTS`."""
    output: int
    """Number among its outputs, or `BEFORE_ACTIVATION`."""


Visit = Callable[[Place, Tensor], Tensor]
"""Takes a value, and gives the one to go on with."""


def walk(
    graph: CallGraph, values: Sequence[Tensor], visit: Visit, *, training: bool | None = False
) -> list[Tensor]:
    """Computes the outputs of a model, with every value on the way exchanged by `visit`.

    Args:
      graph: the calls of the model.
      values: one tensor per input, as the model takes them.
      visit: what is done with each value.
      training: as in `keras.Model.__call__`.

    Returns:
      One tensor per output.
    """
    numbers = {id(call): number for number, call in enumerate(graph.calls)}

    def step(call: Call, given: list[Tensor]) -> list[Tensor]:
        number = numbers[id(call)]
        before = Place(number, BEFORE_ACTIVATION)
        with _watched(unwrapped(call.operation), lambda value: visit(before, value)):
            made = call.run(given, training)
        return [visit(Place(number, index), value) for index, value in enumerate(made)]

    return graph.apply(
        [visit(Place(INPUTS, index), value) for index, value in enumerate(values)], step
    )


def name_of(graph: CallGraph, place: Place) -> str:
    """What messages and files call a value: the path of the layer, and which call where several."""
    if place.call == INPUTS:
        return f"input {place.output}"
    call = graph.calls[place.call]
    prefix, _, _ = call.path.rpartition("/")
    name = unwrapped(call.operation).name
    path = f"{prefix}/{name}" if prefix else name
    calls = graph.calls_of(call.operation)
    several = f", call {calls.index(call) + 1}" if len(calls) > 1 else ""
    output = f", output {place.output}" if place.output > 0 else ""
    before = ", before its activation" if place.output == BEFORE_ACTIVATION else ""
    return f"{path}{several}{output}{before}"


@contextmanager
def _watched(layer: Layer, watch: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """A layer whose activation takes what `watch` gives, for the time of one call."""
    own = getattr(layer, "activation", None)
    if not callable(own) or own is keras.activations.linear:
        yield
        return
    layer.activation = lambda value, *more: own(watch(value), *more)
    try:
        yield
    finally:
        layer.activation = own
