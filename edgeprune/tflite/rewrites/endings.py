"""Means at the end of a sparse network, without the axes that LiteRT turns round.

    before   x --> MEAN keepdims [n, 1, 1, c] --> ...
    after    x --> MEAN [n, c] --> RESHAPE [n, 1, 1, c] --> ...

LiteRT hands the former on as [n, c, 1, 1]: a network that ends there has outputs of the wrong
shape, one that goes on with a 1x1 convolution, as MobileNet's classifier, does not load. A pooling
that covers all of a map is written as such a mean first:

    before   x --> AVERAGE_POOL_2D of 7x7 on 7x7 --> ...
    after    x --> MEAN [n, c] --> RESHAPE [n, 1, 1, c] --> ...
"""

from __future__ import annotations

import math

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgeprune.tflite.format.graph import Operator, Subgraph
from edgeprune.tflite.rewrites.edit import Edit
from edgeprune.tflite.rewrites.window import VALID


def end_in_plain_means(edit: Edit) -> int:
    """Lets means that end a network drop their axes; returns how many."""
    before_maps = _before_maps(edit.main)
    return sum(
        _end(edit, operator)
        for operator in edit.main.operators
        if (_keeps_axes(edit, operator) or _pools_all(edit, operator))
        and _leads_to_no_map(edit, operator, before_maps)
    )


def _keeps_axes(edit: Edit, operator: Operator) -> bool:
    if operator.op != "MEAN" or not operator.options.keepDims:
        return False
    axes = edit.main.tensors[operator.inputs[1]]
    values = axes.values() if math.prod(axes.shape) == 2 else None
    return values is not None and sorted(values.reshape(-1).tolist()) == [1, 2]


def _pools_all(edit: Edit, operator: Operator) -> bool:
    if operator.op != "AVERAGE_POOL_2D" or operator.options.fusedActivationFunction:
        return False
    options = operator.options
    size = edit.main.tensors[operator.inputs[0]].shape[1:3]
    whole = size == (options.filterHeight, options.filterWidth)
    return whole and options.padding == VALID


def _before_maps(main: Subgraph) -> frozenset[int]:
    """The tensors that are maps of several pixels, or that one is computed from."""
    found = {
        tensor.index
        for tensor in main.tensors
        if len(tensor.shape) == 4 and tensor.shape[1:3] != (1, 1)
    }
    for operator in reversed(main.operators):
        if not found.isdisjoint(operator.outputs):
            found.update(operator.inputs)
    return frozenset(found)


def _leads_to_no_map(edit: Edit, operator: Operator, before_maps: frozenset[int]) -> bool:
    """Whether nothing behind is a map of several pixels, unlike in squeeze-and-excite."""
    main = edit.main
    if any(reader.op == "RESHAPE" for reader, _ in main.readers.get(operator.outputs[0], ())):
        alone = len(main.readers[operator.outputs[0]]) == 1
        if alone and operator.op == "MEAN" and operator.outputs[0] not in main.outputs:
            return False
    return before_maps.isdisjoint(operator.outputs)


def _end(edit: Edit, operator: Operator) -> bool:
    source = edit.main.tensors[operator.inputs[0]]
    if source.dtype != "float32" or len(source.shape) != 4:
        return False
    output = edit.main.tensors[operator.outputs[0]]
    batch, channels = source.shape[0], source.shape[3]
    batch_known = -1 if -1 in source.shape_signature else batch
    mean = edit.value(f"{output.name}/mean", (batch, channels), (batch_known, channels))
    axes = edit.constant(f"{output.name}/axes", np.array([1, 2], np.int32))
    shape = np.array([batch_known, 1, 1, channels], np.int32)
    target = edit.constant(f"{output.name}/shape", shape)
    options = schema.ReducerOptionsT(keepDims=False)
    reshape = schema.ReshapeOptionsT(newShape=shape)
    edit.replace(
        operator,
        [
            edit.operator("MEAN", [source.index, axes], [mean], options),
            edit.operator("RESHAPE", [mean, target], [output.index], reshape),
        ],
    )
    return True
