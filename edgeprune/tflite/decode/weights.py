"""Which weights of a file can be packed behind DECODE, and what each of them saves."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from edgeprune.tflite.format.graph import Graph, Operator, Tensor
from edgeprune.tflite.format.packed_tensor import holes, packed_bytes

READERS = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
"""Operators whose second input, the weights, is packed."""
WEIGHT_INPUT = 1
OVERHEAD_BYTES = 140
"""Tables of two tensors, a buffer and a DECODE, and the alignment of two constants.

Measured on files that this package wrote; from 124 to 152, as alignment falls.
"""
_NO_SAVING = "too few zeros: packed it would not be smaller"


@dataclass(frozen=True, eq=False)
class Weight:
    """Constants of the main subgraph that share their bytes, and whether they can be packed.

    `tensors` are indices; `readers` are the operators that compute with them. `refusal` says why
    they stay as they are, and is empty where packing them makes the file smaller.
    """

    tensors: tuple[Tensor, ...]
    readers: tuple[Operator, ...]
    sparsity: float
    dense_bytes: int
    packed_bytes: int
    refusal: str

    @property
    def saved_bytes(self) -> int:
        """Bytes by which the file is smaller, about."""
        return self.dense_bytes - self.packed_bytes - OVERHEAD_BYTES * len(self.readers)


def weights_to_pack(graph: Graph) -> tuple[Weight, ...]:
    """Every int8 weight that an operator of `READERS` takes, in the order of tensors."""
    main = graph.subgraphs[0]
    groups: dict[int, list[Tensor]] = {}
    for tensor in main.tensors:
        used = main.readers.get(tensor.index, ())
        if any(_weighs(operator, position) for operator, position in used) and tensor.constant:
            groups.setdefault(tensor.buffer, []).append(tensor)
    return tuple(_weight(graph, tuple(group)) for group in groups.values())


def _weighs(operator: Operator, position: int) -> bool:
    return operator.op in READERS and position == WEIGHT_INPUT


def _weight(graph: Graph, tensors: tuple[Tensor, ...]) -> Weight:
    uses = graph.subgraphs[0].readers
    readers = tuple(operator for tensor in tensors for operator, _ in uses[tensor.index])
    first = tensors[0]
    count, refusal = math.prod(first.shape), next(_refusals(graph, tensors), "")
    stored = count if refusal else _stored(first)
    known = Weight(
        tensors=tensors,
        readers=readers,
        sparsity=1 - stored / max(count, 1),
        dense_bytes=first.stored_bytes,
        packed_bytes=packed_bytes(count, stored),
        refusal=refusal,
    )
    if refusal or known.saved_bytes > 0:
        return known
    return Weight(**{**vars(known), "refusal": _NO_SAVING})


def _stored(tensor: Tensor) -> int:
    """How many values of a dense int8 constant are not its zero point."""
    values = tensor.values()
    if values is None:
        return math.prod(tensor.shape)
    axis = tensor.quantized_dimension
    hole = holes(tensor.shape, values.dtype, tensor.zero_points, axis)
    return int(np.count_nonzero(values != hole))


def _refusals(graph: Graph, tensors: tuple[Tensor, ...]) -> Iterator[str]:
    """Why weights cannot be packed at all."""
    first, main = tensors[0], graph.subgraphs[0]
    uses = [use for tensor in tensors for use in main.readers[tensor.index]]
    if any(tensor.dtype != "int8" for tensor in tensors):
        yield f"holds {first.dtype}, and int8 alone is packed"
    if any(tensor.sparse for tensor in tensors):
        yield "is stored sparsely already"
    if not all(_weighs(operator, position) for operator, position in uses):
        yield f"is no weight of {', '.join(READERS)} alone"
    if any(tensor.index in main.ends or tensor.variable for tensor in tensors):
        yield "is an input, an output or a variable of the model"
    if graph.buffer_owners[first.buffer] != len(tensors):
        yield "shares its bytes with something else"
    if any(_coded_by(tensor) != _coded_by(first) for tensor in tensors):
        yield "shares its bytes with a weight of another shape or zero point"
    if not _has_plain_quantization(first):
        yield "has scales along another axis than the first or the last"


def _coded_by(tensor: Tensor) -> tuple[object, ...]:
    axis = tensor.quantized_dimension
    return tensor.shape, axis, tensor.zero_points.tolist()


def _has_plain_quantization(tensor: Tensor) -> bool:
    scales, points = tensor.scales.size, tensor.zero_points.size
    if scales != points or not scales or not tensor.shape:
        return False
    axis = tensor.quantized_dimension
    several = axis in (0, len(tensor.shape) - 1) and tensor.shape[axis] == scales
    fits = bool((np.abs(tensor.zero_points + 0.5) <= 128).all())
    return fits and (scales == 1 or several)
