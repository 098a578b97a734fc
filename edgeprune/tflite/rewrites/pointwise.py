"""Strided 1x1 convolutions and small average pools, as depthwise convolutions that stride.

before   x --> CONV 1x1 /2
after    x --> PAD 1 --> DEPTHWISE 3x3 /2, one tap of 1 in the middle --> CONV 1x1

before   x --> AVERAGE_POOL_2D 2x2 /2
after    x --> PAD 1 --> DEPTHWISE 3x3 /2, the four taps at the lower right 1/4
"""

from __future__ import annotations

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgeprune.core.arrays import Array
from edgeprune.tflite.format.graph import Operator
from edgeprune.tflite.rewrites.edit import Edit
from edgeprune.tflite.rewrites.window import VALID

_SIZE = 3


def stride_depthwise(edit: Edit) -> int:
    """Lets depthwise convolutions do the striding; returns in how many places."""
    return sum(
        _split(edit, operator) if operator.op == "CONV_2D" else _pool(edit, operator)
        for operator in edit.main.operators
    )


def _split(edit: Edit, operator: Operator) -> bool:
    options = operator.options
    weights = edit.main.constant_behind(operator.inputs[1])[0]
    source = edit.main.tensors[operator.inputs[0]]
    made = edit.main.tensors[operator.outputs[0]]
    pointwise = weights is not None and len(weights.shape) == 4 and weights.shape[1:3] == (1, 1)
    strides = (options.strideH, options.strideW)
    if not pointwise or strides != (2, 2) or source.dtype != "float32":
        return False
    taps = np.zeros((1, _SIZE, _SIZE, source.shape[3]), np.float32)
    taps[:, 1, 1] = 1
    shape = (*made.shape[:3], source.shape[3])
    strided = edit.value(f"{made.name}/strided", shape, (*made.shape_signature[:3], shape[3]))
    _stride(edit, operator, taps, strided)
    edit.read(operator, 0, strided)
    changed = edit.of(operator).builtinOptions
    changed.strideH = changed.strideW = 1
    return True


def _pool(edit: Edit, operator: Operator) -> bool:
    if operator.op != "AVERAGE_POOL_2D":
        return False
    options = operator.options
    source = edit.main.tensors[operator.inputs[0]]
    small = (options.filterHeight, options.filterWidth, options.strideH, options.strideW)
    even = all(length % 2 == 0 and length > 2 for length in source.shape[1:3])
    if small != (2, 2, 2, 2) or not even or source.dtype != "float32":
        return False
    taps = np.zeros((1, _SIZE, _SIZE, source.shape[3]), np.float32)
    taps[:, 1:, 1:] = 0.25
    _stride(edit, operator, taps, operator.outputs[0], options.fusedActivationFunction)
    edit.replace(operator, [])
    return True


def _stride(edit: Edit, operator: Operator, taps: Array, output: int, activation: int = 0) -> None:
    source = edit.main.tensors[operator.inputs[0]]
    rows = np.array([[0, 0], [1, 1], [1, 1], [0, 0]], np.int32)
    shape = [n + a for n, a in zip(source.shape, rows.sum(axis=1), strict=True)]
    signature = [-1 if s < 0 else n for s, n in zip(source.shape_signature, shape, strict=True)]
    padded = edit.value(f"{source.name}/padded", shape, signature)
    inputs = [
        padded,
        edit.constant(f"{source.name}/taps", taps),
        edit.constant(f"{source.name}/bias", np.zeros(source.shape[3], np.float32)),
    ]
    options = schema.DepthwiseConv2DOptionsT(
        padding=VALID,
        strideH=2,
        strideW=2,
        depthMultiplier=1,
        fusedActivationFunction=activation,
    )
    amounts = edit.constant(f"{source.name}/padding", rows)
    edit.before(
        operator,
        [
            edit.operator("PAD", [source.index, amounts], [padded], schema.PadOptionsT()),
            edit.operator("DEPTHWISE_CONV_2D", inputs, [output], options),
        ],
    )
