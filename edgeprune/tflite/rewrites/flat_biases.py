"""Biases with axes of length 1 beside that of their values, which XNNPACK does not take.

    before   FULLY_CONNECTED(x, weights, bias [1, n])
    after    FULLY_CONNECTED(x, weights, bias [n])

The operator computes the same from either, but the runtime keeps the former to itself.
"""

from __future__ import annotations

import math

from edgeprune.tflite.format.graph import Operator
from edgeprune.tflite.rewrites.edit import Edit

_BIASED = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")


def flatten_biases(edit: Edit) -> int:
    """Gives biases of several axes one; returns of how many operators."""
    return sum(_flatten(edit, operator) for operator in edit.main.operators)


def _flatten(edit: Edit, operator: Operator) -> bool:
    if operator.op not in _BIASED or len(operator.inputs) < 3 or operator.inputs[2] < 0:
        return False
    bias = edit.main.tensors[operator.inputs[2]]
    plain = bias.constant and not bias.sparse and bias.dtype == "float32"
    if not plain or len(bias.shape) == 1 or max(bias.shape, default=1) != math.prod(bias.shape):
        return False
    edit.read(operator, 2, edit.view(bias, f"{bias.name}/flat", (math.prod(bias.shape),)))
    return True
