"""What the operators of a file compute, in the numbers that their cost depends on; pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from edgeprune.tflite.format.graph import RESTORING, Operator, Tensor

_MAP_INPUT = {"CONV_2D": 0, "DEPTHWISE_CONV_2D": 0, "FULLY_CONNECTED": 0, "TRANSPOSE_CONV": 2}
"""Which input the map is, where another one has weights."""
_SAME = 0
"""`Padding.SAME` of the TFLite schema."""
SWISH = "MUL-by-own-LOGISTIC"
"""x * sigmoid(x): some runtimes compute both operators as one."""
PAD_OF_CONVOLUTION = "PAD-of-CONV"
"""Padding that only a convolution without one of its own reads: some runtimes join them."""


@dataclass(frozen=True)
class Operation:
    """One operator, whatever its number format.

    The last axis of a tensor has its channels, the others its positions: height * width of a map,
    1 of a vector. `taps` are the kernel's positions that lie inside of the map, summed over the
    output's positions. `kernel_inputs` are the channels that one output of a kernel reads.
    `per_channel` says that a second operand has one value for each channel of the first,
    `flat` that the output has fewer axes than the input.
    """

    op: str
    positions: int
    channels: int
    input_positions: int
    input_channels: int
    rows: int = 1
    kernel: tuple[int, int] = (1, 1)
    kernel_inputs: int = 1
    stride: int = 1
    taps: int = 1
    per_channel: bool = False
    flat: bool = False

    @property
    def elements(self) -> int:
        """Values of the output."""
        return self.positions * self.channels

    @property
    def weights(self) -> int:
        """Values of the kernel, if the operator has one."""
        return self.channels * self.kernel_inputs * self.kernel[0] * self.kernel[1]

    @property
    def input_elements(self) -> int:
        """Values of the first input."""
        return self.input_positions * self.input_channels


def operations_of(tensors: Sequence[Tensor], operators: Sequence[Operator]) -> list[Operation]:
    """What computes something in a graph; constants that are restored when it is loaded do not."""
    return list(operations_by_index(tensors, operators).values())


def operations_by_index(
    tensors: Sequence[Tensor], operators: Sequence[Operator]
) -> dict[int, Operation]:
    """`operations_of` by the index of each operator."""
    computed = [operator for operator in operators if not _restores(tensors, operator)]
    sigmoids = {each.outputs[0]: each.inputs[0] for each in computed if each.op == "LOGISTIC"}
    readers: dict[int, list[Operator]] = {}
    for operator in computed:
        for index in operator.inputs:
            readers.setdefault(index, []).append(operator)

    def named(operator: Operator) -> Operation:
        found = operation_of(tensors, operator)
        if _is_swish(operator, sigmoids):
            return replace(found, op=SWISH)
        if operator.op == "PAD" and _pads_convolution(readers.get(operator.outputs[0], [])):
            return replace(found, op=PAD_OF_CONVOLUTION)
        return found

    return {operator.index: named(operator) for operator in computed}


def _pads_convolution(readers: Sequence[Operator]) -> bool:
    kinds = ("CONV_2D", "DEPTHWISE_CONV_2D")
    return len(readers) == 1 and readers[0].op in kinds and readers[0].options.padding != _SAME


def _is_swish(operator: Operator, sigmoids: Mapping[int, int]) -> bool:
    """Whether it multiplies a tensor by the sigmoid of that very tensor."""
    return operator.op == "MUL" and any(
        sigmoids.get(gate) == value
        for gate, value in (operator.inputs[:2], operator.inputs[:2][::-1])
    )


def _restores(tensors: Sequence[Tensor], operator: Operator) -> bool:
    return operator.op in RESTORING and all(tensors[index].constant for index in operator.inputs)


def operation_of(tensors: Sequence[Tensor], operator: Operator) -> Operation:
    """The numbers of one operator, from the shapes of its tensors and its options."""
    used = [tensors[index] for index in operator.inputs if index >= 0]
    maps = [tensor for tensor in used if not tensor.constant] or used
    source = max((tensor.shape for tensor in maps), key=math.prod, default=())
    if operator.op in _MAP_INPUT:
        source = tensors[operator.inputs[_MAP_INPUT[operator.op]]].shape
    shape = tensors[operator.outputs[0]].shape if operator.outputs else source
    found = Operation(
        operator.op, *_split(shape), *_split(source), rows=shape[1] if len(shape) == 4 else 1
    )
    match operator.op:
        case "TRANSPOSE_CONV":
            weights = tensors[operator.inputs[1]].shape
            moved = replace(found, positions=found.input_positions)
            return replace(moved, kernel=(weights[1], weights[2]), kernel_inputs=weights[3])
        case "CONV_2D" | "DEPTHWISE_CONV_2D":
            weights = tensors[operator.inputs[1]].shape
            depth = 1 if operator.op == "DEPTHWISE_CONV_2D" else weights[3]
            return _windowed(found, operator, source, shape, weights[1:3], depth)
        case "FULLY_CONNECTED":
            return replace(found, kernel_inputs=tensors[operator.inputs[1]].shape[-1])
        case "MAX_POOL_2D" | "AVERAGE_POOL_2D":
            options = operator.options
            window = (options.filterHeight, options.filterWidth)
            return _windowed(found, operator, source, shape, window, 1)
        case _:
            operands = [tensor for tensor in used if tensor.dtype == used[0].dtype]
            smaller = min((math.prod(each.shape) for each in operands), default=0)
            return replace(
                found, per_channel=smaller < math.prod(source), flat=len(shape) < len(source)
            )


def _split(shape: Sequence[int]) -> tuple[int, int]:
    """Positions and channels of a tensor; one of each where it has no axes."""
    return (math.prod(shape[:-1]), shape[-1]) if shape else (1, 1)


def _windowed(
    found: Operation,
    operator: Operator,
    source: Sequence[int],
    shape: Sequence[int],
    window: Sequence[int],
    kernel_inputs: int,
) -> Operation:
    options = operator.options
    strides = (options.strideH, options.strideW)
    same = options.padding == _SAME
    inside = [
        _inside(size, out, taken, step, same)
        for size, out, taken, step in zip(source[1:3], shape[1:3], window, strides, strict=True)
    ]
    return replace(
        found,
        kernel=(window[0], window[1]),
        kernel_inputs=kernel_inputs,
        stride=max(strides),
        taps=math.prod(inside),
    )


def _inside(size: int, outputs: int, window: int, stride: int, same: bool) -> int:
    """Along one axis: how many of the window's places lie on the map, summed over outputs."""
    padded = max(0, (outputs - 1) * stride + window - size) // 2 if same else 0
    starts = range(-padded, -padded + outputs * stride, stride)
    return sum(max(0, min(start + window, size) - max(start, 0)) for start in starts)
