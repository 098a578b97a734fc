"""Means of a map that is turned first, as converters write PyTorch's `x.mean([2, 3])`.

    before   x [n, h, w, c] --> TRANSPOSE [n, c, h, w] --> MEAN over 2, 3 --> [n, c]
    after    x [n, h, w, c] --> MEAN over 1, 2 --> [n, c]

The turned map hides from sparse kernels that the network ends there. A mean that keeps its axes
gets its shape from a reshape:

    before   x [n, h, w, c] --> TRANSPOSE [n, c, h, w] --> MEAN over 2, 3 --> [n, c, 1, 1]
    after    x [n, h, w, c] --> MEAN over 1, 2 --> [n, c] --> RESHAPE [n, c, 1, 1]
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgeprune.tflite.format.graph import Operator, Subgraph
from edgeprune.tflite.rewrites.edit import Edit


@dataclass(frozen=True)
class _Turned:
    """A mean over axes of a turned map, and the transposition that turned it."""

    mean: Operator
    transposition: Operator
    over: tuple[int, ...]
    """The axes, of the turned map."""
    axes: tuple[int, ...]
    """The same axes of the map before it was turned."""


def turn_means_back(edit: Edit) -> int:
    """Takes means of maps as they were before a transposition; returns how many."""
    found = [turned for operator in edit.main.operators if (turned := _turned(edit.main, operator))]
    for turned in found:
        _turn_back(edit, turned)
    means = {turned.mean.index for turned in found}
    for transposition in {turned.transposition for turned in found}:
        made = transposition.outputs[0]
        readers = {reader.index for reader, _ in edit.main.readers[made]}
        if readers <= means and made not in edit.main.ends:
            edit.replace(transposition, [])
    return len(found)


def _turned(main: Subgraph, mean: Operator) -> _Turned | None:
    """The mean of a turned map, if the map itself has the same mean; None for others."""
    if mean.op != "MEAN" or len(mean.inputs) != 2:
        return None
    transposition = main.makers.get(mean.inputs[0])
    if transposition is None or transposition.op != "TRANSPOSE":
        return None
    order = _numbers(main, transposition.inputs[1])
    given = _numbers(main, mean.inputs[1])
    rank = len(main.tensors[mean.inputs[0]].shape)
    if sorted(order) != list(range(rank)) or not given:
        return None
    over = tuple(sorted({axis % rank for axis in given}))
    left = [axis for place, axis in enumerate(order) if place not in over]
    made = main.tensors[mean.outputs[0]]
    if left != sorted(left) or made.dtype != "float32" or made.shape_signature.count(-1) > 1:
        return None
    return _Turned(mean, transposition, over, tuple(sorted(order[axis] for axis in over)))


def _numbers(main: Subgraph, index: int) -> list[int]:
    """The values of a constant; none if it is computed."""
    tensor = main.tensors[index]
    values = tensor.values() if tensor.constant and not tensor.sparse else None
    return [] if values is None else [int(value) for value in values.reshape(-1)]


def _turn_back(edit: Edit, turned: _Turned) -> None:
    mean = turned.mean
    made = edit.main.tensors[mean.outputs[0]]
    axes = edit.constant(f"{made.name}/axes", np.array(turned.axes, np.int32))
    source = turned.transposition.inputs[0]
    if not mean.options.keepDims:
        edit.read(mean, 0, source)
        edit.read(mean, 1, axes)
        return
    plain = edit.value(
        f"{made.name}/mean",
        _without(made.shape, turned.over),
        _without(made.shape_signature, turned.over),
    )
    shape = np.array(made.shape_signature, np.int32)
    target = edit.constant(f"{made.name}/shape", shape)
    options = schema.ReducerOptionsT(keepDims=False)
    edit.replace(
        mean,
        [
            edit.operator("MEAN", [source, axes], [plain], options, mean.version),
            edit.operator(
                "RESHAPE", [plain, target], [made.index], schema.ReshapeOptionsT(newShape=shape)
            ),
        ],
    )


def _without(shape: tuple[int, ...], axes: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(size for axis, size in enumerate(shape) if axis not in axes)
