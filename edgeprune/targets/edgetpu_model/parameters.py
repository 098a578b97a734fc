"""What every operator of a graph stores on the Edge TPU, and what of it is only known in part."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from edgeprune.targets.edgetpu_model.cycles import estimated_cycles
from edgeprune.targets.edgetpu_model.operators import option
from edgeprune.targets.edgetpu_model.storage import (
    DENSE_INT8_BIAS_BYTES_16,
    StorageKind,
    align,
    constant_bytes,
    flatten_bytes,
    parameter_bytes,
    stored_channels,
)
from edgeprune.tflite.format.file import Operator, Subgraph

STORAGE_KINDS: dict[str, StorageKind] = {
    "CONV_2D": "convolution",
    "DEPTHWISE_CONV_2D": "depthwise",
    "FULLY_CONNECTED": "dense",
    "TRANSPOSE_CONV": "convolution",
}
ELEMENTWISE = ("ADD", "MAXIMUM", "MINIMUM", "MUL", "SUB", "SQUARED_DIFFERENCE")
POOLS = ("AVERAGE_POOL_2D", "MAX_POOL_2D")
MANY_CLASSES = 64
"""SOFTMAX over more classes than one block of outputs may bring a helper with it."""


@dataclass(frozen=True)
class StoredShape:
    """What the storage of a weighted operator depends on."""

    kind: StorageKind
    kernel: tuple[int, int]
    inputs: int
    outputs: int
    made: tuple[int, int]
    """Height and width of the map that comes out; of the one that goes in for TRANSPOSE_CONV."""
    per_channel: bool
    activation: bool

    @property
    def bytes(self) -> int:
        """Bytes on the chip."""
        return parameter_bytes(
            self.kind,
            self.kernel,
            self.inputs,
            self.outputs,
            per_channel=self.per_channel,
            activation=self.activation,
        )

    @property
    def cycles(self) -> int:
        """The compiler's own estimate."""
        return estimated_cycles(self.kind, self.made, self.kernel, self.inputs, self.outputs)

    @property
    def stored_outputs(self) -> int:
        """Outputs with those that only fill up."""
        return stored_channels(self.kind, self.outputs)


@dataclass(frozen=True)
class Stored:
    """Parameters of one operator, in bytes: kept on the chip if there is room, or always streamed.

    `note` says what is not exact.
    """

    kept: int = 0
    streamed: int = 0
    cycles: int = 0
    note: str = ""


def shape_of(subgraph: Subgraph, operator: Operator) -> StoredShape | None:
    """The shape of an operator with constant weights; None for others."""
    kind = STORAGE_KINDS.get(operator.op)
    if kind is None or len(operator.inputs) < 2 or operator.inputs[1] < 0:
        return None
    weights = subgraph.tensors[operator.inputs[1]]
    if len(weights.shape) != (2 if kind == "dense" else 4):
        return None
    transposed = operator.op == "TRANSPOSE_CONV"
    ends = operator.inputs[2:3] if transposed else operator.outputs[:1]
    return StoredShape(
        kind=kind,
        kernel=(1, 1) if kind == "dense" else (weights.shape[1], weights.shape[2]),
        inputs=1 if kind == "depthwise" else weights.shape[-1],
        outputs=weights.shape[3] if kind == "depthwise" else weights.shape[0],
        made=(1, 1) if kind == "dense" else _height_width(subgraph, ends),
        per_channel=weights.scales.size > 1,
        activation=option(operator, "fusedActivationFunction") > 0,
    )


def _height_width(subgraph: Subgraph, tensors: Sequence[int]) -> tuple[int, int]:
    """Height and width of the first of some tensors `[..., h, w, c]`, 1 where it has none."""
    shape = (1, 1, 1, *(subgraph.tensors[tensors[0]].shape if tensors else ()))
    return shape[-3], shape[-2]


def stored(subgraph: Subgraph, operator: Operator) -> Stored:
    """What one mapped operator stores, and its estimated cycles."""
    shape = shape_of(subgraph, operator)
    if shape is not None:
        return Stored(shape.bytes, 0, shape.cycles, _weights_note(subgraph, operator, shape))
    if operator.op == "RESHAPE":
        cost = flatten_cost(subgraph, operator)
        return Stored(kept=cost, note=flatten_note(subgraph, operator) if cost else "")
    if operator.op in ELEMENTWISE:
        streamed = _constants(subgraph, operator)
        note = "a constant operand, streamed: its size rests on one case" if streamed else ""
        return Stored(streamed=streamed, cycles=_map_cycles(subgraph, operator), note=note)
    return Stored(cycles=_map_cycles(subgraph, operator), note=_other_note(subgraph, operator))


def _map_cycles(subgraph: Subgraph, operator: Operator) -> int:
    """Estimated cycles of an operator without weights: pools and ADD; 0 for others."""
    window = (1, 1)
    if operator.op in POOLS:
        window = (option(operator, "filterHeight"), option(operator, "filterWidth"))
    elif operator.op != "ADD":
        return 0
    shape = subgraph.tensors[operator.outputs[0]].shape
    made = _height_width(subgraph, operator.outputs)
    return estimated_cycles("depthwise", made, window, 1, shape[-1] if shape else 1)


def flatten_cost(subgraph: Subgraph, operator: Operator) -> int:
    """Bytes of the identity matrix that a RESHAPE to one row becomes; 0 where it is free."""
    if operator.op != "RESHAPE" or operator.inputs[0] < 0:
        return 0
    read = subgraph.tensors[operator.inputs[0]].shape
    made = subgraph.tensors[operator.outputs[0]].shape
    flattens = bool(made) and made[-1] == math.prod(read)
    return flatten_bytes(read) if flattens else 0


def flatten_note(subgraph: Subgraph, operator: Operator) -> str:
    """What a RESHAPE that costs something does, and what avoids it."""
    shape = list(subgraph.tensors[operator.inputs[0]].shape)
    return (
        f"flattening {shape} takes an identity matrix of {flatten_cost(subgraph, operator)} bytes, "
        f"since {shape[-1]} channels are no multiple of 4; keep the channels before Flatten a "
        "multiple of 4"
    )


def _constants(subgraph: Subgraph, operator: Operator) -> int:
    tensors = (subgraph.tensors[index] for index in operator.inputs if index >= 0)
    return sum(constant_bytes(math.prod(t.shape)) for t in tensors if t.constant)


def _weights_note(subgraph: Subgraph, operator: Operator, shape: StoredShape) -> str:
    if operator.op == "TRANSPOSE_CONV":
        return "taken for a convolution of the same shape; never seen"
    if shape.kind != "dense":
        return ""
    if shape.per_channel:
        return "Dense with one scale per output: stored like a convolution, never seen"
    if subgraph.tensors[operator.inputs[1]].dtype == "int8":
        more = align(shape.stored_outputs * (align(shape.inputs, 4) + DENSE_INT8_BIAS_BYTES_16), 64)
        return f"builds 16 of the compiler take {more} bytes (one published log)"
    return ""


def _other_note(subgraph: Subgraph, operator: Operator) -> str:
    made = subgraph.tensors[operator.outputs[0]].shape
    if operator.op == "SOFTMAX" and max(made[-1:], default=1) > MANY_CLASSES:
        return (
            f"builds 16 of the compiler add a helper for SOFTMAX over {made[-1]} classes, not "
            "counted here: 48256 bytes at 1001 classes, other sizes are not known"
        )
    if operator.op in ("LSTM", "UNIDIRECTIONAL_SEQUENCE_LSTM"):
        return "bytes of LSTM are not modelled: 35520 for 28 inputs and 20 units in the one seen"
    if operator.op == "PRELU":
        return "bytes of PRELU's slopes are not modelled"
    if operator.op in ("CONCATENATION", "SPLIT") and _uneven(subgraph, operator):
        return (
            "channels that are no multiple of 4 are moved by selection matrices, not modelled: "
            "192 bytes in the one file seen"
        )
    return ""


def _uneven(subgraph: Subgraph, operator: Operator) -> bool:
    """Whether channels are joined or parted within a group of four."""
    splits = operator.op == "SPLIT"
    whole = operator.inputs[-1] if splits else operator.outputs[0]
    channels = subgraph.tensors[whole].shape[-1:]
    parts = operator.outputs if splits else operator.inputs
    shapes = (subgraph.tensors[index].shape[-1:] for index in parts if index >= 0)
    return any(shape and shape != channels and shape[0] % 4 for shape in shapes)
