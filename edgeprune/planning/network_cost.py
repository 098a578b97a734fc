"""What a network costs in one inference, by the cost table of the device's core; pure.

A network that is planned is not quantized yet, so its operators are taken from the float32 file of
the same model: `numerics` says in which number format they would run.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import TypeAlias

from edgeprune.core.terms import Numerics
from edgeprune.profiles import kernel_costs
from edgeprune.profiles.kernel_costs import SPARSE_START, RuntimeCosts
from edgeprune.profiles.operation_costs import FormatCosts
from edgeprune.profiles.operations import Operation, operations_by_index, operations_of
from edgeprune.tflite.format.graph import Graph, Operator

PlannedZeros: TypeAlias = Mapping[tuple[int, int, int], Sequence[tuple[int, float]]]
"""Blocks and sparsities of planned 1x1 convolutions, by outputs, inputs and pixels."""

KEPT_FLOAT = 1024
"""Weights below which TensorFlow's converter leaves a kernel in float32 for `dynamic-range`.

Source: kWeightsMinNumElementsDefault, tensorflow/lite/tools/optimize/quantize_weights.cc.
"""
_WITH_WEIGHTS = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV")


def dense_cost(graph: Graph, costs: RuntimeCosts, numerics: Numerics) -> float | None:
    """Instructions of one inference of a whole network that runs dense.

    Args:
      graph: the file's; the one of float32 for every number format.
      costs: of a runtime.
      numerics: the number format.

    Returns:
      The instructions; None if the table does not have the number format.
    """
    known = costs.in_format(numerics)
    plain = costs.in_format("float32")
    if known is None or plain is None:
        return None
    main = graph.subgraphs[0]
    return _around(graph, known) + sum(
        (plain if _stays_float(each, numerics) else known).of_one(each)
        for each in operations_of(main.tensors, main.operators)
    )


def _stays_float(operation: Operation, numerics: Numerics) -> bool:
    return (
        numerics == "dynamic-range"
        and operation.op in _WITH_WEIGHTS
        and operation.weights < KEPT_FLOAT
    )


def _around(graph: Graph, known: FormatCosts) -> float:
    main = graph.subgraphs[0]
    read, written = (
        sum(math.prod(main.tensors[index].shape) for index in indices)
        for indices in (main.inputs, main.outputs)
    )
    return known.around(read, written)


def sparse_cost(
    graph: Graph, costs: RuntimeCosts, inside: Collection[int], zeros: PlannedZeros
) -> float:
    """Instructions of one inference of a float32 network that runs sparsely, in parts at least.

    Where a table has no costs of single operators it is the sum over convolutions alone.

    Args:
      graph: of the rewritten file.
      costs: of a runtime, with those of sparse networks.
      inside: indices of the operators that run in channels-first layout.
      zeros: what is planned for 1x1 convolutions.
    """
    main = graph.subgraphs[0]
    plain = costs.in_format("float32")
    total = _around(graph, plain) if plain else 0.0
    known = operations_by_index(main.tensors, main.operators)
    if inside and plain and SPARSE_START in costs.costs:
        total += costs.costs[SPARSE_START] - plain.around(0, 0)
    for operator in main.operators:
        amounts = _in_cluster(graph, operator, zeros) if operator.index in inside else None
        if amounts is not None:
            total += costs.total(amounts)
        elif plain is not None:
            total += plain.of_one(known[operator.index]) if operator.index in known else 0.0
        else:
            total += costs.total(_dense_convolution(graph, operator))
    return total


def _in_cluster(
    graph: Graph, operator: Operator, zeros: PlannedZeros
) -> kernel_costs.Amounts | None:
    """The features of what computes otherwise in channels-first layout; None for the rest.

    Padding costs nothing: it becomes that of the convolution behind it.
    """
    if operator.op == "PAD":
        return {}
    if operator.op == "MEAN":
        *_, height, width, channels = graph.tensors[operator.inputs[0]].shape
        return kernel_costs.mean(channels, height * width, "nchw")
    if operator.op not in ("CONV_2D", "DEPTHWISE_CONV_2D"):
        return None
    kernel = graph.tensors[operator.inputs[1]].shape
    _, height, width, channels = graph.tensors[operator.outputs[0]].shape
    pixels, stride = height * width, operator.options.strideH
    if operator.op == "DEPTHWISE_CONV_2D":
        return kernel_costs.depthwise(kernel[1], stride, channels, pixels, "nchw")
    outputs, rows, columns, inputs = kernel
    if (rows, columns) != (1, 1):
        return kernel_costs.stem(outputs, pixels, "nchw") if inputs == 3 else None
    alike = zeros.get((outputs, inputs, pixels), [(1, 0.0)])
    return kernel_costs.mean_of(
        [kernel_costs.sparse_pointwise(outputs, inputs, pixels, *each) for each in alike]
    )


def _dense_convolution(graph: Graph, operator: Operator) -> kernel_costs.Amounts:
    if operator.op not in ("CONV_2D", "DEPTHWISE_CONV_2D"):
        return {}
    kernel = graph.tensors[operator.inputs[1]].shape
    _, height, width, channels = graph.tensors[operator.outputs[0]].shape
    pixels, stride = height * width, operator.options.strideH
    if operator.op == "DEPTHWISE_CONV_2D":
        return kernel_costs.depthwise(kernel[1], stride, channels, pixels, "nhwc")
    outputs, rows, columns, inputs = kernel
    if (rows, columns) == (1, 1):
        return kernel_costs.dense_pointwise(outputs, inputs, pixels)
    return kernel_costs.stem(outputs, pixels, "nhwc") if inputs == 3 else {}
