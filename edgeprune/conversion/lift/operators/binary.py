"""Operators with two operands: arithmetic and comparisons, of values or with a constant."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np

from edgeprune.conversion.lift.layers import OPERATIONS, ConstantOperand
from edgeprune.conversion.lift.operators.fused import activated
from edgeprune.conversion.lift.site import BatchNeededError, KerasTensor, Site, keras_dtype
from edgeprune.core.arrays import Array

_LAYERS: Mapping[str, type] = {
    "add": keras.layers.Add,
    "subtract": keras.layers.Subtract,
    "multiply": keras.layers.Multiply,
    "maximum": keras.layers.Maximum,
    "minimum": keras.layers.Minimum,
}


def binary(operation: str) -> Callable[[Site], KerasTensor]:
    """The entry of an operator that is an operation of `keras.ops` on two operands."""

    def lift(site: Site) -> KerasTensor:
        return activated(site, combined(site, operation))

    return lift


def combined(site: Site, operation: str, suffix: str = "") -> KerasTensor:
    """Combines the two operands of an operator by an operation of `keras.ops`."""
    constants = site.constant(0), site.constant(1)
    for position, values in enumerate(constants):
        if values is not None:
            return _with_constant(site, operation, values, position, suffix)
    shapes = site.shape(0), site.shape(1)
    alike = len(shapes[0]) == len(shapes[1])
    if not site.whole and not (alike and shapes[0][:1] == shapes[1][:1]):
        raise BatchNeededError
    given = [site.tensor(0), site.tensor(1)]
    real = alike and len(shapes[0]) > 1 and keras_dtype(given[0]) == "float32"
    if operation in _LAYERS and real and (not site.whole or shapes[0][:1] == shapes[1][:1]):
        name = site.new_name(suffix) if suffix else site.name
        return site.apply(_LAYERS[operation](name=name), given)
    return site.compute(suffix, getattr(keras.ops, operation), *given)


def _with_constant(
    site: Site, operation: str, values: Array, position: int, suffix: str
) -> KerasTensor:
    """Combines a value with a constant: a single number, or an array that a layer holds."""
    shape, given = site.shape(1 - position), site.tensor(1 - position)
    left = position == 0
    number = values.size == 1 and values.ndim <= len(shape)
    if number:
        single = values.reshape(-1)[0].item()
        pair = (single, given) if left else (given, single)
        return site.compute(suffix, getattr(keras.ops, operation), *pair)
    values = _beside_batch(site, values, len(shape))
    real = values.dtype == np.float32 and keras_dtype(given) == "float32"
    if operation not in OPERATIONS or not real:
        held = site.tensor(position)
        pair = (held, given) if left else (given, held)
        return site.compute(suffix, getattr(keras.ops, operation), *pair)
    name = site.new_name(suffix) if suffix else site.name
    layer = ConstantOperand(operation, values.shape, left=left, name=name)
    site.hold(layer, position, "value")
    site.building.values.append((layer, [values]))
    return site.apply(layer, given)


def _beside_batch(site: Site, values: Array, rank: int) -> Array:
    """A constant without the axis of an open batch."""
    if site.whole or values.ndim < rank:
        return values
    if values.ndim > rank or values.shape[0] != 1:
        raise BatchNeededError
    inner: Array = values[0]
    return inner


def sum_of_all(site: Site) -> KerasTensor:
    """ADD_N: the sum of several values of one shape."""
    given = [site.tensor(position) for position in range(site.count)]
    return given[0] if len(given) == 1 else site.apply(keras.layers.Add(name=site.name), given)


def squared_difference(site: Site) -> Any:
    """SQUARED_DIFFERENCE: two operations."""
    return site.compute("", keras.ops.square, combined(site, "subtract", "difference"))
