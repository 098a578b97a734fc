"""The layers of an int8 file that can be mended, and what the float file has in their place."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgeprune.tflite.format.draft import Draft
from edgeprune.tflite.format.graph import Graph, Operator, Tensor
from edgeprune.tflite.rewrites.edit import Edit

BIAS = {"CONV_2D": 2, "DEPTHWISE_CONV_2D": 2, "FULLY_CONNECTED": 2, "TRANSPOSE_CONV": 3}
"""Place of the bias among the inputs of each operator that has one."""
DATA_AT = {"TRANSPOSE_CONV": 2}
"""Where operators read what they multiply their kernel with, if not first."""
ROUNDED = frozenset(("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"))
"""Operators whose weights are rounded by what they give."""
_KIND = schema.ActivationFunctionType
_LIMITS = {
    _KIND.NONE: (-math.inf, math.inf),
    _KIND.RELU: (0.0, math.inf),
    _KIND.RELU6: (0.0, 6.0),
    _KIND.RELU_N1_TO_1: (-1.0, 1.0),
}
"""Between what each fused activation leaves a value as it is."""


def limits_of(operator: Operator) -> tuple[float, float] | None:
    """Between what an operator's fused activation leaves a value as it is; None if unknown."""
    return _LIMITS.get(getattr(operator.options, "fusedActivationFunction", _KIND.NONE))


@dataclass(frozen=True, eq=False)
class Layer:
    """An int8 operator with a bias, and the operator of the float file in its place."""

    operator: Operator
    bias: Tensor
    output: Tensor
    floating: Operator
    limits: tuple[float, float]
    weights: Tensor | None
    """Its weights where no other operator reads them and they may be rounded again; else None."""
    kept: Tensor | None
    """The float weights in their place."""


def positions_of(output: Tensor) -> int:
    """How many positions the output of a layer has per sample."""
    return max(1, math.prod(output.shape[:-1]))


def find_layers(draft: Draft, floating: Graph) -> tuple[Layer, ...]:
    """The layers of an int8 file whose outputs the float file has by name and shape."""
    edit = Edit(draft)
    makers = floating.subgraphs[0].makers
    tensors = ((t.name, t.shape, makers.get(t.index)) for t in floating.tensors)
    known = {(name, shape): maker for name, shape, maker in tensors if maker is not None}
    return tuple(_layers(edit, floating, known))


def _layers(
    edit: Edit, floating: Graph, known: dict[tuple[str, tuple[int, ...]], Operator]
) -> Iterator[Layer]:
    for operator in edit.main.operators:
        place = BIAS.get(operator.op, len(operator.inputs))
        if place >= len(operator.inputs) or operator.inputs[place] < 0:
            continue
        bias, output = (edit.main.tensors[i] for i in (operator.inputs[place], operator.outputs[0]))
        limits = limits_of(operator)
        maker = known.get((output.name, output.shape))
        usable = bias.dtype == "int32" and bias.constant and bias.scales.size > 0
        usable = usable and bias.shape == output.shape[-1:]
        if usable and output.dtype == "int8" and limits is not None and maker is not None:
            pair = _weights(edit, operator, floating, maker)
            yield Layer(operator, bias, output, maker, limits, *pair)


def _weights(
    edit: Edit, operator: Operator, floating: Graph, maker: Operator
) -> tuple[Tensor, Tensor] | tuple[None, None]:
    """The weights of an operator and of its float twin, where they may be rounded again."""
    if operator.op not in ROUNDED or maker.op != operator.op:
        return None, None
    given = edit.main.tensors[operator.inputs[0]]
    own, kept = edit.own(operator, 1), floating.tensors[maker.inputs[1]]
    usable = own is not None and own.dtype == given.dtype == "int8" and own.scales.size > 0
    if own is None or not usable or np.any(own.zero_points) or not kept.constant:
        return None, None
    grouped = operator.op == "CONV_2D" and own.shape[-1] != given.shape[-1]
    same = kept.shape == own.shape and kept.dtype == "float32" and given.scales.size == 1
    return (own, kept) if same and not grouped else (None, None)


def with_own_biases(draft: Draft, floating: Graph) -> Draft:
    """Gives every layer a bias of its own: converters join equal ones, and leave out zeros."""
    edit, tensors = Edit(draft), draft.model.subgraphs[0].tensors
    for layer in find_layers(draft, floating):
        place, stored = BIAS[layer.operator.op], layer.bias.values()
        if stored is None or edit.own(layer.operator, place) is not None:
            continue
        added = edit.constant(f"{layer.bias.name}/own", stored)
        tensors[added].quantization = copy.copy(tensors[layer.bias.index].quantization)
        edit.read(layer.operator, place, added)
    for operator in edit.main.operators:
        if operator.op == "FULLY_CONNECTED" and operator.inputs[2:] in {(), (-1,)}:
            _add_bias(edit, operator, tensors)
    return edit.finish()


def _add_bias(edit: Edit, operator: Operator, tensors: list[Any]) -> None:
    """Gives an int8 FULLY_CONNECTED a bias of zeros, in steps of input times weight."""
    given, weights, output = (
        edit.main.tensors[i] for i in (*operator.inputs[:2], operator.outputs[0])
    )
    kinds = (given.dtype, weights.dtype, output.dtype)
    if kinds != ("int8",) * 3 or not weights.constant or given.scales.size != 1:
        return
    scales = (given.scales.astype(np.float64) * weights.scales).astype(np.float32)
    added = edit.constant(f"{output.name}/bias", np.zeros(weights.shape[0], np.int32))
    tensors[added].quantization = schema.QuantizationParametersT(
        scale=scales, zeroPoint=np.zeros(scales.size, np.int64)
    )
    edit.of(operator).inputs = np.array([*operator.inputs[:2], added], np.int32)
