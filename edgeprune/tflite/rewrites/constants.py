"""Sums and products of a map and a constant, in the one form that sparse kernels take.

XNNPACK looks at the shape of the first operand to tell whether a constant one is a scalar or a
vector, so the constant has to come first, with four axes. Differences and quotients become sums
and products of the negative or the inverse:

    before   ADD(x, 3)       MUL(x, [c])                SUB(x, 3)      DIV(x, 6)
    after    ADD([[[[3]]]], x)   MUL([1, 1, 1, c], x)   ADD(-3, x)     MUL(1 / 6, x)
"""

from __future__ import annotations

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgeprune.tflite.format.graph import Operator, Tensor
from edgeprune.tflite.rewrites.edit import Edit

_OPPOSITES = {"SUB": "ADD", "DIV": "MUL"}


def constants_first(edit: Edit) -> int:
    """Puts constants first and gives them four axes; returns in how many operators."""
    behind = _behind_convolutions(edit)
    return sum(_turn(edit, operator) for operator in edit.main.operators if operator in behind)


def _behind_convolutions(edit: Edit) -> set[Operator]:
    """Returns the operators that depend on a convolution: what is in front of a stem may stay."""
    reached: set[int] = set()
    found = set()
    for operator in edit.main.operators:
        if operator.op == "CONV_2D" or not reached.isdisjoint(operator.inputs):
            reached.update(operator.outputs)
            found.add(operator)
    return found


def _turn(edit: Edit, operator: Operator) -> bool:
    if operator.op not in ("ADD", "MUL", "SUB", "DIV"):
        return False
    first, second = (edit.main.tensors[index] for index in operator.inputs)
    if second.constant:
        data, constant = first, second
    elif first.constant and operator.op not in _OPPOSITES:
        data, constant = second, first
    else:
        return False
    scalar_map = all(length == 1 for length in data.shape[:3])
    fits = constant.shape[:-1] == (1, 1, 1) and (constant is first or scalar_map)
    if not _takes(data, constant) or (fits and operator.op not in _OPPOSITES):
        return False
    shape = (1, 1, 1, max(constant.shape, default=1))
    if operator.op in _OPPOSITES:
        return _opposite(edit, operator, constant, shape)
    source = edit.view(constant, f"{constant.name}/4d", shape)
    edit.read(operator, 0, source)
    edit.read(operator, 1, data.index)
    return True


def _takes(data: Tensor, constant: Tensor) -> bool:
    """Whether a constant is one value, or one per channel, for a float map."""
    per_channel = all(length == 1 for length in constant.shape[:-1])
    floats = (data.dtype, constant.dtype) == ("float32", "float32")
    return floats and len(data.shape) == 4 and per_channel and not constant.sparse


def _opposite(
    edit: Edit, operator: Operator, constant: Tensor, shape: tuple[int, int, int, int]
) -> bool:
    values = constant.values()
    if values is None or (operator.op == "DIV" and not values.all()):
        return False
    turned = -values if operator.op == "SUB" else np.divide(1, values, dtype=np.float32)
    source = edit.constant(f"{constant.name}/opposite", turned.reshape(shape))
    op = _OPPOSITES[operator.op]
    kind = schema.AddOptionsT if op == "ADD" else schema.MulOptionsT
    options = kind(fusedActivationFunction=operator.options.fusedActivationFunction)
    inputs = [source, operator.inputs[0]]
    edit.replace(operator, [edit.operator(op, inputs, operator.outputs, options)])
    return True
