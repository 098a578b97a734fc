"""An operation on the device while channels are removed, and as the cost tables know operators."""

from __future__ import annotations

import math
from dataclasses import dataclass

from edgeprune.profiles.operations import Operation
from edgeprune.pruning.channels.rule import Labels


@dataclass(frozen=True)
class Op:
    """An operation on the device: a matrix, or a merge of several tensors."""

    path: str
    inputs: Labels
    """`[inputs]`."""
    outputs: Labels
    """`[outputs]`."""
    input_pixels: int
    output_pixels: int
    window: int = 0
    """Number of kernel positions; 0 for a merge, which multiplies nothing."""
    fan: int | None = None
    """Number of inputs that one output sums over, if removal does not change it."""
    groups: int = 1
    counted: bool = False
    """Whether the sparsity is counted over its weights."""


def operation_at(op: Op, inputs: int, outputs: int) -> Operation:
    """The numbers of an operation that its cost depends on, with so many channels left.

    Kernels and maps are taken for squares, and borders are left out: that moves the cost of a
    network by a few per cent, not where removal pays.
    """
    if not op.window:
        sums = len(op.inputs) > len(op.outputs)
        return Operation(
            "ADD" if sums else "CONCATENATION",
            positions=op.output_pixels,
            channels=outputs,
            input_positions=op.input_pixels,
            input_channels=outputs,
            rows=math.isqrt(op.output_pixels),
        )
    return Operation(
        "DEPTHWISE_CONV_2D" if op.fan == 1 else "CONV_2D",
        positions=op.output_pixels,
        channels=outputs,
        input_positions=op.input_pixels,
        input_channels=inputs,
        rows=math.isqrt(op.output_pixels),
        kernel=_kernel(op.window),
        kernel_inputs=op.fan or inputs // op.groups,
        stride=max(1, round(math.sqrt(op.input_pixels / max(op.output_pixels, 1)))),
        taps=op.window * op.output_pixels,
    )


def _kernel(window: int) -> tuple[int, int]:
    side = math.isqrt(window)
    return (side, side) if side * side == window else (1, window)
