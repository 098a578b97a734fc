"""What is computed from constants alone, in NumPy: shape arithmetic, and restored weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any, TypeAlias

import numpy as np

from edgeprune.conversion.lift.operators.slicing import strided_keys
from edgeprune.conversion.lift.site import BlockedError, real_type, span_of
from edgeprune.core.arrays import Array
from edgeprune.tflite.format.graph import Operator, Subgraph

MOST_VALUES = 1 << 27
"""Values that a folded constant may have, and an activation of one sample."""


Given: TypeAlias = list[Array | None]
Fold: TypeAlias = Callable[[Subgraph, Operator, Given], list[Array]]


def fold(subgraph: Subgraph, operator: Operator, given: Given) -> list[Array] | None:
    """The outputs of an operator whose inputs are all constant.

    Args:
      subgraph: of the operator.
      operator: any.
      given: its inputs; None for one that is left out.

    Returns:
      One array per output; None for an operator that is not folded.

    Raises:
      BlockedError: its constants contradict each other, or the result is too large.
    """
    compute = FOLDS.get(operator.op)
    if compute is None or operator.custom:
        return None
    try:
        with np.errstate(all="ignore"):
            return compute(subgraph, operator, given)
    except (ValueError, IndexError, TypeError, AttributeError, OverflowError) as error:
        raise BlockedError(f"its constants do not fit together ({error})") from error


def _one(function: Callable[..., Any]) -> Fold:
    """A fold of an operator that is a function of its arrays."""

    def compute(_: Subgraph, __: Operator, given: Given) -> list[Array]:
        return [_kept(function(*given), given)]

    return compute


def _kept(made: Any, given: Given) -> Array:
    """The result in the type of what it is made from, as in the file, but for conditions."""
    first, values = given[0], np.asarray(made)
    if first is None or values.dtype == np.bool_:
        return values
    return np.asarray(values, first.dtype)


def _along(function: Callable[..., Any]) -> Fold:
    """A fold of an operator with an axis among its options."""

    def compute(_: Subgraph, operator: Operator, given: Given) -> list[Array]:
        return [np.asarray(function(given, operator.options.axis))]

    return compute


def _reduced(function: Callable[..., Any]) -> Fold:
    def compute(_: Subgraph, operator: Operator, given: Given) -> list[Array]:
        values, axes = _two(given)
        over = tuple(int(axis) for axis in axes.reshape(-1))
        made = function(values, axis=over, keepdims=bool(operator.options.keepDims))
        return [np.asarray(made).astype(values.dtype)]

    return compute


def _two(given: Given) -> tuple[Array, Array]:
    first, second = given[:2]
    if first is None or second is None:
        raise BlockedError("an input is left out")
    return first, second


def _reshaped(subgraph: Subgraph, operator: Operator, given: Given) -> list[Array]:
    values, shape = np.asarray(given[0]), given[1] if len(given) > 1 else None
    if shape is None or shape.ndim != 1:
        shape = np.array(subgraph.tensors[operator.outputs[0]].shape, int)
    return [values.reshape([int(size) for size in shape])]


def _squeezed(_: Subgraph, operator: Operator, given: Given) -> list[Array]:
    values, dims = np.asarray(given[0]), operator.options.squeezeDims
    return [np.squeeze(values, axis=None if dims is None or not len(dims) else tuple(dims))]


def _expanded(_: Subgraph, __: Operator, given: Given) -> list[Array]:
    values, axis = _two(given)
    return [np.expand_dims(values, int(axis.reshape(-1)[0]))]


def _cast(subgraph: Subgraph, operator: Operator, given: Given) -> list[Array]:
    return [np.asarray(given[0]).astype(real_type(subgraph.tensors[operator.outputs[0]].dtype))]


def _strided(_: Subgraph, operator: Operator, given: Given) -> list[Array]:
    values, *rest = (np.asarray(each) for each in given)
    numbers = [[int(value) for value in each.reshape(-1)] for each in rest]
    keys, shape = strided_keys(operator.options, values.shape, numbers)
    return [values[tuple(keys)].reshape(shape)]


def _sliced(_: Subgraph, __: Operator, given: Given) -> list[Array]:
    values, begins, sizes = (np.asarray(each) for each in given)
    keys = [
        slice(int(b), None if s < 0 else int(b + s)) for b, s in zip(begins, sizes, strict=True)
    ]
    return [values[tuple(keys)]]


def _filled(_: Subgraph, __: Operator, given: Given) -> list[Array]:
    shape, value = _two(given)
    sizes = _allowed(int(size) for size in shape.reshape(-1))
    return [np.full(sizes, value.reshape(-1)[0], value.dtype)]


def _allowed(sizes: Any) -> tuple[int, ...]:
    shape = tuple(sizes)
    if math.prod(max(size, 1) for size in shape) > MOST_VALUES:
        raise BlockedError(f"it makes a constant of {list(shape)}")
    return shape


def _tiled(_: Subgraph, __: Operator, given: Given) -> list[Array]:
    values, times = _two(given)
    many = [int(each) for each in times.reshape(-1)]
    _allowed([values.size, *many])
    return [np.tile(values, many)]


def _broadcast(_: Subgraph, __: Operator, given: Given) -> list[Array]:
    values, shape = _two(given)
    return [np.array(np.broadcast_to(values, _allowed(int(size) for size in shape.reshape(-1))))]


def _range(_: Subgraph, __: Operator, given: Given) -> list[Array]:
    start, limit, step = (np.asarray(each).reshape(-1)[0] for each in given)
    if not step:
        raise BlockedError("its step is zero")
    _allowed([abs(int((limit - start) / step)) + 1])
    return [np.arange(start, limit, step, dtype=np.asarray(given[0]).dtype)]


def _unpacked(_: Subgraph, operator: Operator, given: Given) -> list[Array]:
    values = np.asarray(given[0])
    return list(np.moveaxis(values, operator.options.axis, 0))


def _split(_: Subgraph, operator: Operator, given: Given) -> list[Array]:
    axis, values = _two(given)
    return list(np.split(values, operator.options.numSplits, int(axis.reshape(-1)[0])))


def _split_by_sizes(_: Subgraph, __: Operator, given: Given) -> list[Array]:
    values, sizes, axis = (np.asarray(each) for each in given)
    at = int(axis.reshape(-1)[0])
    known = sum(int(size) for size in sizes if size >= 0)
    lengths = [int(size) if size >= 0 else values.shape[at] - known for size in sizes]
    return list(np.split(values, np.cumsum(lengths)[:-1], at))


def _divided(first: Array, second: Array) -> Array:
    if first.dtype.kind in "iu":
        return np.trunc(first / second)
    return np.asarray(first / second)


def _gathered(_: Subgraph, operator: Operator, given: Given) -> list[Array]:
    values, places = _two(given)
    options = operator.options or SimpleNamespace(axis=0)
    return [np.take(values, places.astype(int), axis=options.axis)]


def _same(_: Subgraph, __: Operator, given: Given) -> list[Array]:
    return [np.asarray(given[0])]


def _on_grid(subgraph: Subgraph, operator: Operator, given: Given) -> list[Array]:
    """Constants as the steps of a quantized tensor can hold them."""
    made = subgraph.tensors[operator.outputs[0]]
    low, high = span_of(made)
    step = np.float64(made.scales[0])
    held = np.rint(np.clip(np.asarray(given[0]), low, high) / step) * step
    return [held.astype(np.float32)]


FOLDS: Mapping[str, Fold] = {
    **dict.fromkeys(("DENSIFY", "DEQUANTIZE"), _same),
    "ABS": _one(np.abs),
    "ADD": _one(np.add),
    "BROADCAST_TO": _broadcast,
    "CAST": _cast,
    "CONCATENATION": _along(np.concatenate),
    "COS": _one(np.cos),
    "DIV": _one(_divided),
    "EQUAL": _one(np.equal),
    "EXP": _one(np.exp),
    "EXPAND_DIMS": _expanded,
    "FILL": _filled,
    "FLOOR_DIV": _one(np.floor_divide),
    "FLOOR_MOD": _one(np.mod),
    "GATHER": _gathered,
    "GREATER": _one(np.greater),
    "GREATER_EQUAL": _one(np.greater_equal),
    "LESS": _one(np.less),
    "LESS_EQUAL": _one(np.less_equal),
    "MAXIMUM": _one(np.maximum),
    "MINIMUM": _one(np.minimum),
    "MUL": _one(np.multiply),
    "NEG": _one(np.negative),
    "NOT_EQUAL": _one(np.not_equal),
    "PACK": _along(np.stack),
    "POW": _one(np.power),
    "QUANTIZE": _on_grid,
    "RANGE": _range,
    "REDUCE_MAX": _reduced(np.max),
    "REDUCE_MIN": _reduced(np.min),
    "REDUCE_PROD": _reduced(np.prod),
    "RESHAPE": _reshaped,
    "REVERSE_V2": _one(lambda x, axes: np.flip(x, [int(axis) for axis in axes])),
    "RSQRT": _one(lambda x: 1 / np.sqrt(x)),
    "SIN": _one(np.sin),
    "SLICE": _sliced,
    "SPLIT": _split,
    "SPLIT_V": _split_by_sizes,
    "SQRT": _one(np.sqrt),
    "SQUARE": _one(np.square),
    "SQUEEZE": _squeezed,
    "STRIDED_SLICE": _strided,
    "SUB": _one(np.subtract),
    "SUM": _reduced(np.sum),
    "TILE": _tiled,
    "TRANSPOSE": _one(lambda x, order: np.transpose(x, [int(axis) for axis in order])),
    "UNPACK": _unpacked,
}
"""By the operator's name. Results of integers keep their type."""
