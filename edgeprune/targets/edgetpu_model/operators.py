"""Which operators the Edge TPU compiler maps when they stand alone, and why it does not map others.

Source, unless a rule names another: the table of supported operations that the vendor published in
2019, the additions of runtime 13 (CHANGES.md in google-coral/edgetpu at 9ebaa5a), and what 57
files that the compiler made show.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType

from edgeprune.tflite.compiled import EDGE_TPU
from edgeprune.tflite.format.file import Operator, Subgraph, Tensor

SOFTMAX_MOST = 16000
RESIZE_MOST = 4
"""Largest factor of a resize. Fitted: 2 was seen mapped, 15.5 and 33 were not."""
UNKNOWN_DENSE_VERSION = 9
"""Source: published logs say "Operation version not supported" of FULLY_CONNECTED version 9."""

Reason = str | None
"""Why an operator is not mapped; None if it is."""
MappingRule = Callable[[Subgraph, Operator], Reason]


def unmappable(subgraph: Subgraph, operator: Operator) -> Reason:
    """Says why the compiler would leave an operator on the CPU even if it stood alone.

    What stands before it in the graph is not looked at; see `mapping`.
    """
    if operator.op == EDGE_TPU:
        return "the file is compiled already; give the file that edgetpu_compiler was given"
    if operator.custom:
        return "custom operator"
    if not operator.inputs or not operator.outputs or min(operator.outputs) < 0:
        return "inputs or outputs are missing"
    rule = MAPPING_RULES.get(operator.op)
    if rule is None:
        return "operation not supported"
    for tensor in computed(subgraph, operator):
        reason = _unmappable_tensor(tensor)
        if reason:
            return reason
    return rule(subgraph, operator)


def computed(subgraph: Subgraph, operator: Operator) -> Iterator[Tensor]:
    """Yields the tensors that an operator reads or makes and that are no constants.

    State that an operator keeps for itself, as LSTM does, is left out.
    """
    for index in operator.inputs + operator.outputs:
        if index >= 0:
            tensor = subgraph.tensors[index]
            if not tensor.constant and not tensor.variable:
                yield tensor


def _unmappable_tensor(tensor: Tensor) -> Reason:
    if tensor.dtype not in ("int8", "uint8"):
        return f"data type {tensor.dtype}: only tensors of 8 bits are mapped"
    if -1 in tensor.shape_signature:
        return f"size set at run time: {list(tensor.shape_signature)}"
    if any(size != 1 for size in tensor.shape[:-3]):
        return f"more than three dimensions above 1: {list(tensor.shape)}"
    return None


def option(operator: Operator, name: str) -> int:
    """A number among an operator's options; 0 where it has none, as the schema says."""
    return int(getattr(operator.options, name, 0))


def _input(subgraph: Subgraph, operator: Operator, position: int) -> Tensor | None:
    if len(operator.inputs) <= position or operator.inputs[position] < 0:
        return None
    return subgraph.tensors[operator.inputs[position]]


def _anything(subgraph: Subgraph, operator: Operator) -> Reason:  # noqa: ARG001
    return None


def _constant_weights(subgraph: Subgraph, operator: Operator) -> Reason:
    inputs = [_input(subgraph, operator, position) for position in (1, 2)]
    if inputs[0] is None or not all(tensor is None or tensor.constant for tensor in inputs):
        return "weights are not constant"
    if inputs[0].sparse:
        return "weights are stored sparsely"
    if inputs[0].dtype not in ("int8", "uint8"):
        return f"weights of type {inputs[0].dtype}: only 8 bits are mapped"
    return None


def _convolution(subgraph: Subgraph, operator: Operator) -> Reason:
    dilation = option(operator, "dilationHFactor"), option(operator, "dilationWFactor")
    if dilation[0] != dilation[1]:
        return f"dilation {dilation[0]}x{dilation[1]} is not square"
    return _constant_weights(subgraph, operator)


def _transposed(subgraph: Subgraph, operator: Operator) -> Reason:
    weights = _input(subgraph, operator, 1)
    return None if weights is not None and weights.constant else "weights are not constant"


def _dense(subgraph: Subgraph, operator: Operator) -> Reason:
    if operator.version >= UNKNOWN_DENSE_VERSION:
        return f"operation version {operator.version} not supported"
    if option(operator, "weightsFormat"):
        return "weights in a shuffled format"
    shape = subgraph.tensors[operator.outputs[0]].shape
    if math.prod(shape[:-1]) != 1:
        return f"more than one row comes out: {list(shape)}"
    return _constant_weights(subgraph, operator)


def _no_activation(subgraph: Subgraph, operator: Operator) -> Reason:  # noqa: ARG001
    return "a fused activation" if option(operator, "fusedActivationFunction") else None


def _concatenation(subgraph: Subgraph, operator: Operator) -> Reason:
    tensors = [subgraph.tensors[index] for index in operator.inputs if index >= 0]
    constants = [tensor for tensor in tensors if tensor.constant]
    zero = all(_all_zero(tensor) for tensor in constants)
    if constants and not (zero and len(tensors) == 2):
        return "a constant input that is not all zero, or more than two inputs"
    return _no_activation(subgraph, operator)


def _all_zero(tensor: Tensor) -> bool:
    values = tensor.values()
    zero = int(tensor.zero_points[0]) if tensor.zero_points.size else 0
    return values is not None and bool((values == zero).all())


def _over_map(subgraph: Subgraph, operator: Operator) -> Reason:
    """Reductions run along height and width only."""
    axes = _input(subgraph, operator, 1)
    read = _input(subgraph, operator, 0)
    values = axes.values() if axes is not None else None
    if values is None or read is None:
        return "axes are not constant"
    rank = len(read.shape)
    reduced = {int(axis) % rank for axis in values.reshape(-1)} if rank else set()
    other = {axis for axis in reduced if axis not in (rank - 2, rank - 3) and read.shape[axis] != 1}
    return f"reduces along axis {min(other)}, not height or width" if other else None


def _pad(subgraph: Subgraph, operator: Operator) -> Reason:
    widths = _input(subgraph, operator, 1)
    values = widths.values() if widths is not None else None
    if values is None or values.ndim != 2:
        return "padding is not constant"
    rank = len(values)
    other = [a for a in range(rank) if a not in (rank - 2, rank - 3) and values[a].any()]
    return f"pads along axis {other[0]}, not height or width" if other else None


def _resize(subgraph: Subgraph, operator: Operator) -> Reason:
    """A resize to the same size, or by a whole factor up to 4 along each axis.

    Source: 8 shapes. 6 to 12, 12 to 24, 24 to 48 and 33 to 33 are mapped, 1 to 33 and 33 to 513 are
    not; the limit lies somewhere between 2 and 33.
    """
    read, made = _input(subgraph, operator, 0), subgraph.tensors[operator.outputs[0]]
    if read is None or len(read.shape) < 3 or len(made.shape) < 3:
        return "not a map"
    for before, after in zip(read.shape[-3:-1], made.shape[-3:-1], strict=True):
        if before == 0 or after % before or after // before > RESIZE_MOST:
            sizes = " to ".join("x".join(map(str, t.shape[-3:-1])) for t in (read, made))
            return f"resizes {sizes}: not by a whole factor up to {RESIZE_MOST}"
    return None


def _softmax(subgraph: Subgraph, operator: Operator) -> Reason:
    shape = subgraph.tensors[operator.outputs[0]].shape
    if math.prod(shape[:-1]) != 1:
        return f"more than one row: {list(shape)}"
    return f"more than {SOFTMAX_MOST} classes" if shape and shape[-1] > SOFTMAX_MOST else None


def _squeeze(subgraph: Subgraph, operator: Operator) -> Reason:
    read, made = _input(subgraph, operator, 0), subgraph.tensors[operator.outputs[0]]
    if read is None:
        return "no input"
    removed = len(read.shape) - len(made.shape)
    leading = set(read.shape[:removed]) <= {1} and read.shape[removed:] == made.shape
    return None if leading else "takes away other than leading dimensions"


def _strided_slice(subgraph: Subgraph, operator: Operator) -> Reason:
    strides = _input(subgraph, operator, 3)
    values = strides.values() if strides is not None else None
    if values is None or not (values == 1).all():
        return "strides other than 1"
    if option(operator, "ellipsisMask") or option(operator, "newAxisMask"):
        return "an ellipsis or a new axis"
    return None


MAPPING_RULES: Mapping[str, MappingRule] = MappingProxyType(
    {
        **dict.fromkeys(
            ("LOGISTIC", "RELU", "RELU6", "RELU_N1_TO_1", "TANH", "PRELU", "RSQRT"), _anything
        ),
        **dict.fromkeys(
            ("ADD", "MAXIMUM", "MINIMUM", "MUL", "SUB", "SQUARED_DIFFERENCE"), _anything
        ),
        **dict.fromkeys(("AVERAGE_POOL_2D", "MAX_POOL_2D"), _no_activation),
        **dict.fromkeys(("CONV_2D", "DEPTHWISE_CONV_2D"), _convolution),
        **dict.fromkeys(("RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR"), _resize),
        **dict.fromkeys(("LSTM", "UNIDIRECTIONAL_SEQUENCE_LSTM"), _anything),
        **dict.fromkeys(("EXPAND_DIMS", "L2_NORMALIZATION", "PACK", "QUANTIZE"), _anything),
        **dict.fromkeys(("REDUCE_MAX", "REDUCE_MIN", "RESHAPE", "SLICE"), _anything),
        **dict.fromkeys(("SPACE_TO_DEPTH", "SPLIT", "SUM", "TILE", "TRANSPOSE"), _anything),
        "CONCATENATION": _concatenation,
        "FULLY_CONNECTED": _dense,
        "MEAN": _over_map,
        "PAD": _pad,
        "SOFTMAX": _softmax,
        "SQUEEZE": _squeeze,
        "STRIDED_SLICE": _strided_slice,
        "TRANSPOSE_CONV": _transposed,
    }
)
"""Every operator that can be mapped, and what else it asks for.

TILE is in no list but was mapped; PRELU, REDUCE_MAX and TRANSPOSE are in published logs; RSQRT,
REDUCE_MIN and SQUARED_DIFFERENCE are said to be in the last list and were not seen.
"""
