"""New values of a file's constants, in the file's own order, from a Keras model that was pruned."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from edgeprune.conversion.lift.lifted import Lifted
from edgeprune.conversion.lift.site import quantized
from edgeprune.conversion.lift.write_back.order import KernelOrder
from edgeprune.core.arrays import Array
from edgeprune.core.errors import ModelError, TfliteError
from edgeprune.keras_model.layers import Layer, Model
from edgeprune.tflite.format.graph import Operator, Subgraph, Tensor

Place: TypeAlias = tuple[int, int]
"""An operator of the main subgraph, and the position among its inputs."""


@dataclass(frozen=True, eq=False)
class NewValue:
    """What a constant becomes for the operators of one layer.

    `values` is float32 with the axes of `tensor`, the constant as the file stores it. `variable` is
    the name of the variable of `layer` that it comes from; `order` is None but for kernels.
    `places` are where the operators of that layer read it.
    """

    layer: str
    variable: str
    tensor: Tensor
    values: Array
    places: tuple[Place, ...]
    order: KernelOrder | None = None

    def in_keras(self, values: Array, shape: tuple[int, ...]) -> Array:
        """Values of the constant in the order and shape of the variable."""
        return values.reshape(shape) if self.order is None else self.order.to_keras(values, shape)


@dataclass(frozen=True, eq=False)
class Changes:
    """What changes in a file; what is as it was is left out."""

    in_place: Mapping[int, tuple[NewValue, ...]]
    """By the index of a constant that gets new values: those of layers that read it, all equal."""
    copied: tuple[NewValue, ...]
    """Values of constants that others read too, and that are other ones for these."""

    def __iter__(self) -> Iterator[NewValue]:
        yield from (value for values in self.in_place.values() for value in values)
        yield from self.copied


def new_values(lifted: Lifted, pruned: Model) -> Changes:
    """The constants of a file that are other ones in a pruned model.

    Raises:
      ModelError: a layer of the lifted model is missing.
      TfliteError: a constant that changes is computed from others.
    """
    main = lifted.graph.subgraphs[0]
    claims = _claims(lifted)
    found: dict[int, list[tuple[NewValue, bool]]] = {}
    for variable in _variables(lifted, pruned):
        stored = _constant_of(lifted, variable)
        if stored is not None:
            value = variable.as_stored(stored, _places_of(main, claims, variable.layer, stored))
            found.setdefault(stored.index, []).append((value, variable.changed))
    in_place, copied = {}, []
    for index, values in sorted(found.items()):
        if not any(changed for _, changed in values):
            continue
        new = [value for value, changed in values if changed]
        if _all_read_by(main, index, new):
            # The first takes the place of the old values, which nothing reads any more.
            in_place[index] = tuple(value for value in new if _is_equal(value, new[0]))
        copied += [value for value in new if value not in in_place.get(index, ())]
    return Changes(in_place, tuple(copied))


def _all_read_by(main: Subgraph, index: int, values: Sequence[NewValue]) -> bool:
    """Whether nothing reads a constant beside the operators of these values."""
    known = {place for value in values for place in value.places}
    readers = {(operator.index, position) for operator, position in _readers_of(main, index)}
    return readers <= known and index not in main.ends


def _is_equal(one: NewValue, other: NewValue) -> bool:
    return np.array_equal(one.values, other.values)


@dataclass(frozen=True, eq=False)
class _Variable:
    """A variable of a layer, before and after, and the tensor that stands for it in the file."""

    layer: str
    name: str
    tensor: int
    before: Array
    after: Array
    order: KernelOrder | None = None
    follows: bool = False
    """Whether its scales are made of those of a kernel that changes."""

    @property
    def changed(self) -> bool:
        return self.follows or not np.array_equal(self.before, self.after)

    def as_stored(self, stored: Tensor, places: tuple[Place, ...]) -> NewValue:
        if self.order is None:
            values = _with_rank(self.after, stored)
        else:
            values = self.order.to_file(self.after, stored.shape)
        return NewValue(self.layer, self.name, stored, values, places, self.order)


def _variables(lifted: Lifted, pruned: Model) -> Iterator[_Variable]:
    for name, weights in lifted.weights.items():
        layers = lifted.model.get_layer(name), layer_named(pruned, name, lifted)
        kernel = "embeddings" if weights.kind == "Embedding" else "kernel"
        op = lifted.graph.operators[weights.operator].op
        order = KernelOrder(op, weights.kind, weights.transposed)
        found = _Variable(name, kernel, weights.kernel, *_both(layers, kernel), order)
        yield found
        if weights.bias is not None:
            held = _both(layers, "bias")
            follows = found.changed and quantized(lifted.graph.tensors[weights.bias])
            yield _Variable(name, "bias", weights.bias, *held, follows=follows)
    for name, constant in lifted.constants.items():
        if constant.weight:
            layers = lifted.model.get_layer(name), layer_named(pruned, name, lifted)
            held = _both(layers, constant.weight)
            yield _Variable(name, constant.weight, constant.tensor, *held)


def _both(layers: tuple[Layer, Layer], variable: str) -> tuple[Array, Array]:
    before, after = (np.asarray(getattr(layer, variable)) for layer in layers)
    return before, after


def layer_named(model: Model, name: str, lifted: Lifted) -> Layer:
    """A layer of a pruned model by its name in the lifted one.

    Raises:
      ModelError: there is none.
    """
    try:
        return model.get_layer(name)
    except ValueError as error:
        raise missing_layer(lifted, name) from error


def missing_layer(lifted: Lifted, name: str) -> ModelError:
    """Says that a pruned model lacks a layer of the lifted one."""
    return ModelError(
        f"{lifted.path}: expected a model with the layers of this file. Received: one without "
        f"{name!r}. Only weights and numbers of channels can be written back into a file: "
        "leave activations and padding as they are."
    )


def _constant_of(lifted: Lifted, variable: _Variable) -> Tensor | None:
    """The constant that a variable was read from, behind DEQUANTIZE and DENSIFY.

    Returns:
      None where it is computed from others, and stays as it is.

    Raises:
      TfliteError: it is computed, and changed.
    """
    found, _ = lifted.graph.subgraphs[0].constant_behind(variable.tensor)
    if found is None and variable.changed:
        name = lifted.graph.tensors[variable.tensor].name
        raise TfliteError(
            f"{lifted.path}: {name!r}: expected a constant to write new weights into. Received: "
            "a tensor that is computed from others. Leave the layer that reads it out: --skip "
            f"'{variable.layer}'."
        )
    return found


def _with_rank(values: Array, stored: Tensor) -> Array:
    """Values with axes of length 1 in front, or without them, as the file has them."""
    missing = len(stored.shape) - values.ndim
    if missing >= 0:
        return values.reshape(*(1,) * missing, *values.shape)
    return values.reshape(values.shape[-missing:])


def _claims(lifted: Lifted) -> Mapping[int, str]:
    """The layer with variables that stands for an operator, by the operator's index.

    A layer that is called several times stands for every operator with its constants.
    """
    main = lifted.graph.subgraphs[0]
    held = [
        *((part.operator, name) for name, part in lifted.weights.items()),
        *((part.operator, name) for name, part in lifted.constants.items() if part.weight),
    ]
    first = {_key(main, main.operators[index]): name for index, name in held}
    again = {
        operator.index: first[_key(main, operator)]
        for operator in main.operators
        if _key(main, operator) in first
    }
    return {**again, **dict(held)}


def _key(main: Subgraph, operator: Operator) -> tuple[str, tuple[int, ...]]:
    """What tells operators of different layers apart: their kind, and the constants they read."""
    constants = (main.constant_behind(index)[0] for index in operator.inputs if index >= 0)
    return operator.op, tuple(tensor.index for tensor in constants if tensor is not None)


def _places_of(
    main: Subgraph, claims: Mapping[int, str], layer: str, stored: Tensor
) -> tuple[Place, ...]:
    return tuple(
        (operator.index, position)
        for operator, position in _readers_of(main, stored.index)
        if claims.get(operator.index) == layer
    )


def _readers_of(main: Subgraph, index: int) -> Iterator[tuple[Operator, int]]:
    """Every operator that reads a constant, and where, behind those that restore it."""
    for operator, position in main.readers.get(index, ()):
        if operator.op in ("DENSIFY", "DEQUANTIZE"):
            yield from _readers_of(main, operator.outputs[0])
        else:
            yield operator, position
