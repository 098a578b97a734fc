"""DECODE operators of a file: which tensors they unpack, and whether they say what they should."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator
from dataclasses import dataclass

import numpy as np

from edgeprune.core.arrays import Array
from edgeprune.tflite.format.flatbuffer import ByteReader
from edgeprune.tflite.format.graph import Graph, Operator, Subgraph, Tensor
from edgeprune.tflite.format.packed_tensor import (
    BITMASK,
    CODING_VERSION,
    DECODE,
    HEADER_BYTES,
    OTHER_CODINGS,
    PACKED_TYPES,
    PackedValues,
    unpack_values,
    wrong_coding,
)


@dataclass(frozen=True, eq=False)
class PackedTensor:
    """A tensor that a DECODE unpacks, with the operator and the two constants it does that from."""

    operator: Operator
    tensor: Tensor
    mask: Tensor
    ancillary: Tensor

    @property
    def packed(self) -> PackedValues:
        """What the file stores."""
        return PackedValues(self.mask.data, self.ancillary.data)

    @property
    def key(self) -> tuple[Hashable, ...]:
        """What the values follow from: packed tensors with the same key are one and the same."""
        tensor = self.tensor
        numbers = tensor.scales.tobytes(), tensor.zero_points.tobytes(), tensor.quantized_dimension
        return (self.mask.buffer, self.ancillary.buffer, tensor.shape, tensor.dtype, *numbers)

    @property
    def readable(self) -> bool:
        """Whether the coding is the bitmask, the one that is read and checked here."""
        return int(self.ancillary.data[0]) == BITMASK

    def values(self) -> Array:
        """The values after unpacking, of the tensor's shape."""
        tensor, dtype = self.tensor, np.dtype(self.tensor.dtype)
        axis = tensor.quantized_dimension
        return unpack_values(self.packed, tensor.shape, dtype, tensor.zero_points, axis)


def unpacks(operator: Operator) -> bool:
    """Whether an operator is a DECODE."""
    return operator.custom and operator.op == DECODE


def packed_tensors(subgraph: Subgraph) -> Iterator[PackedTensor]:
    """The tensors that a sound subgraph's DECODE operators unpack, in the order of execution."""
    tensors = subgraph.tensors
    for operator in filter(unpacks, subgraph.operators):
        for number, output in enumerate(operator.outputs):
            mask, ancillary = operator.inputs[2 * number : 2 * number + 2]
            yield PackedTensor(operator, tensors[output], tensors[mask], tensors[ancillary])


def unpacked_bytes(subgraph: Subgraph) -> int:
    """Bytes of all that a sound subgraph unpacks, the same tensors once."""
    sizes = {
        each.key: math.prod(each.tensor.shape) * np.dtype(each.tensor.dtype).itemsize
        for each in packed_tensors(subgraph)
        if each.readable
    }
    return sum(sizes.values())


def holds_packed(graph: Graph) -> bool:
    """Whether a file has a DECODE."""
    return any(unpacks(operator) for subgraph in graph.subgraphs for operator in subgraph.operators)


def check_decode(
    reader: ByteReader,
    place: str,
    subgraph: Subgraph,
    operator: Operator,
    sound: set[tuple[Hashable, ...]],
) -> None:
    """Checks a DECODE, all of whose indices lead somewhere: its kernel looks at nothing.

    Args:
      reader: makes the error.
      place: of the operator.
      subgraph: of the operator.
      operator: a DECODE.
      sound: keys of what was checked before, to which new ones are added: many outputs may be
        unpacked from the same bytes.

    Raises:
      TfliteError: inputs that are not pairs of constants, or a coding that is not sound.
    """
    pairs = len(operator.outputs)
    indices = (*operator.inputs, *operator.outputs)
    if not pairs or len(operator.inputs) != 2 * pairs or min(indices) < 0:
        received = f"{len(operator.inputs)} inputs, {pairs} outputs"
        raise reader.fail(place, "two inputs for each output, one output or more", received)
    for number, output in enumerate(operator.outputs):
        pair = [subgraph.tensors[index] for index in operator.inputs[2 * number : 2 * number + 2]]
        here = f"{place}, output {number} ({subgraph.tensors[output].name!r})"
        for tensor in pair:
            if (tensor.dtype, len(tensor.shape), tensor.constant) != ("uint8", 1, True):
                received = f"{tensor.dtype} {list(tensor.shape)}"
                raise reader.fail(here, "two constants of uint8 with one axis", received)
        found = PackedTensor(operator, subgraph.tensors[output], *pair)
        if found.key not in sound and (expected := _wrong(found)):
            raise reader.fail(here, *expected)
        sound.add(found.key)


def _wrong(found: PackedTensor) -> tuple[str, str] | None:
    """What is expected of a packed tensor, and what was received; None where it is sound."""
    ancillary, tensor = found.ancillary.data, found.tensor
    if ancillary.size < HEADER_BYTES:
        return f"a header of {HEADER_BYTES} bytes", f"{ancillary.size} bytes"
    coding, version = int(ancillary[0]), int(ancillary[1])
    if coding in OTHER_CODINGS and version == CODING_VERSION:
        return None
    if coding != BITMASK or version != CODING_VERSION:
        known = f"version {CODING_VERSION} of coding {BITMASK}, of 0 or 1, or of 127 and above"
        return known, f"version {version} of coding {coding}"
    if tensor.dtype not in PACKED_TYPES:
        return f"an output of {', '.join(PACKED_TYPES)}", tensor.dtype
    if expected := _wrong_quantization(tensor):
        return expected
    item_bytes = np.dtype(tensor.dtype).itemsize
    expected = wrong_coding(found.packed, tensor.shape, item_bytes)
    return expected if expected[0] else None


def _wrong_quantization(tensor: Tensor) -> tuple[str, str] | None:
    """As `_wrong`, of what the kernel finds holes and their channels by."""
    counts = tensor.scales.size, tensor.zero_points.size
    if counts == (0, 0):
        return None
    axis = tensor.quantized_dimension
    received = f"{counts[0]} scales and {counts[1]} zero points along axis {axis}"
    last = len(tensor.shape) - 1
    if counts[0] != counts[1] or not (axis == 0 or (axis == last and counts[0] > 1)):
        return "as many zero points as scales, along the first axis, or several along the last", (
            received
        )
    if counts[0] > 1 and (not tensor.shape or tensor.shape[axis] != counts[0]):
        return f"one scale, or one for each slice of {list(tensor.shape)}", received
    if np.abs(tensor.zero_points.astype(np.float64) + 0.5).max() > 128:
        return "zero points from -128 to 127", str(tensor.zero_points.tolist())
    if tensor.dtype != "int8" and tensor.zero_points.any():
        return f"a zero point of 0 for {tensor.dtype}", str(tensor.zero_points.tolist())
    return None
