"""How many bytes TFLite Micro's memory planner takes for activations and unpacked weights.

Source: greedy_memory_planner.cc and micro_allocation_info.cc in tensorflow/lite/micro of
tflite-micro; scratch buffers of kernels are not known here.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from edgeprune.tflite.format.graph import Subgraph, Tensor, item_bits

_ALIGNMENT = 16


@dataclass(frozen=True)
class Lifetime:
    """A buffer and the operators, by their place in the order, from which to which it is needed."""

    size: int
    first: int
    last: int

    def meets(self, other: Lifetime) -> bool:
        """Whether both are needed at once."""
        return self.first <= other.last and other.first <= self.last


def tensor_bytes(tensor: Tensor) -> int:
    """Bytes of a tensor in the arena, as the planner aligns them."""
    size = math.prod(tensor.shape) * (item_bits(tensor.dtype) or 8) // 8
    return -(-size // _ALIGNMENT) * _ALIGNMENT


def lifetimes(subgraph: Subgraph) -> tuple[Lifetime, ...]:
    """The buffers of everything that is computed, operator i being at place 2 * i + 2.

    Places between leave room for operators that are put in front of another one.
    """
    first = dict.fromkeys(subgraph.inputs, 0)
    last = dict(first)
    for operator in subgraph.operators:
        place = place_of(operator.index)
        for index in operator.outputs:
            first.setdefault(index, place)
        last.update(dict.fromkeys((*operator.inputs, *operator.outputs), place))
    last.update(dict.fromkeys(subgraph.outputs, place_of(len(subgraph.operators))))
    planned = (tensor for tensor in subgraph.tensors if tensor.index in first)
    return tuple(
        Lifetime(tensor_bytes(tensor), first[tensor.index], last[tensor.index])
        for tensor in planned
        if not tensor.constant and not tensor.variable
    )


def place_of(operator: int) -> int:
    """The place of an operator in the order of `lifetimes`."""
    return 2 * operator + 2


def unpacked(tensor: Tensor, reader: int) -> Lifetime:
    """The buffer of a weight that a DECODE right before its reader unpacks."""
    return Lifetime(tensor_bytes(tensor), place_of(reader) - 1, place_of(reader))


def planned_bytes(buffers: Sequence[Lifetime]) -> int:
    """Bytes that the planner takes: the largest buffer first, each into the first gap it fits."""
    placed: list[tuple[int, Lifetime]] = []
    order = sorted(range(len(buffers)), key=lambda index: (-buffers[index].size, -index))
    for buffer in (buffers[index] for index in order):
        offset = _first_gap(buffer, placed)
        placed.append((offset, buffer))
        placed.sort(key=lambda entry: entry[0])
    return max((offset + buffer.size for offset, buffer in placed), default=0)


def _first_gap(buffer: Lifetime, placed: Iterable[tuple[int, Lifetime]]) -> int:
    offset = 0
    for start, other in placed:
        if other.meets(buffer):
            if start - offset >= buffer.size:
                break
            offset = max(offset, start + other.size)
    return offset


def needed_at_once(buffers: Sequence[Lifetime]) -> Mapping[int, int]:
    """Bytes needed at each place; what is planned is as many as the most of these, or more."""
    ends = range(max((buffer.last for buffer in buffers), default=-1) + 1)
    return {place: sum(_sizes_at(place, buffers)) for place in ends}


def _sizes_at(place: int, buffers: Iterable[Lifetime]) -> Iterator[int]:
    return (buffer.size for buffer in buffers if buffer.first <= place <= buffer.last)
