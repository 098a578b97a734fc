"""What operators cost in executed instructions in each number format, from a table measured.

An operator is a sum of features, each with an amount; a table has the instructions of one of each:

    start               running a network at all
    read, written       values that go into a network and come out of it
    matrix/...          convolutions and FULLY_CONNECTED on more than one position
    vector/...          the same on one position
    depthwise-KsS/...   depthwise convolutions, by kernel and stride
    NAME/...            any other operator, by its name in the TFLite schema

Kernels multiply matrices in tiles of positions times outputs (gemm and igemm in google/XNNPACK, ruy
in TensorFlow Lite); the tile of a table is the one that explains the counts best. A feature that a
kernel does not depend on has a cost of zero. What a table does not know is taken for a copy.

Pure: a table in, numbers out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, TypeAlias

from pydantic import Field

from edgeprune.core.schema import Count, Table
from edgeprune.core.terms import Numerics
from edgeprune.profiles.operations import Operation

Amounts: TypeAlias = dict[str, float]

MATRIX = ("CONV_2D", "TRANSPOSE_CONV", "FULLY_CONNECTED")
DEPTHWISE = ((3, 1), (3, 2), (5, 1), (5, 2), (7, 1))
"""Kernel and stride of the depthwise convolutions that are measured."""
COPY = "PAD"
"""The operator that stands for those a table does not know."""
_VECTOR = 16
"""Channels up to which kernels work on whole vectors; the rest of a row costs extra."""


class FormatCosts(Table):
    """Instructions per feature in one number format."""

    numerics: Numerics
    tile: tuple[Count, Count]
    """Positions and outputs of the tiles in which matrices are multiplied."""
    costs: Mapping[str, float]
    error: Annotated[float, Field(ge=0)]
    """Root mean square of the relative differences between the counts and what is made of them."""

    def of(self, operations: Iterable[Operation]) -> float:
        """Instructions of operators, without the start of a network."""
        return sum(self.of_one(operation) for operation in operations)

    def of_one(self, operation: Operation) -> float:
        """Instructions of one operator."""
        amounts = operation_amounts(operation, self.tile, self._known_as(operation))
        return sum(self.costs.get(name, 0.0) * amount for name, amount in amounts.items())

    def knows(self, operation: Operation) -> bool:
        """Whether operators of this kind were measured."""
        return self._known_as(operation) != COPY or operation.op == COPY

    def _known_as(self, operation: Operation) -> str:
        names = (name_of(operation), operation.op, COPY)
        return next((name for name in names if f"{name}/operators" in self.costs), COPY)

    def around(self, read: int, written: int) -> float:
        """Instructions of a network beside its operators.

        Args:
          read: values of its inputs.
          written: values of its outputs.
        """
        amounts = {"start": 1, "read": read, "written": written}
        return sum(self.costs.get(name, 0.0) * amount for name, amount in amounts.items())


def name_of(operation: Operation) -> str:
    """What the features of an operator are named after."""
    if operation.op in MATRIX:
        return "vector" if operation.positions == 1 else "matrix"
    if operation.op == "DEPTHWISE_CONV_2D":
        return "depthwise-{}s{}".format(*_nearest(operation))
    ending = "-per-channel" if operation.per_channel else "-flat" if operation.flat else ""
    return f"{operation.op}{ending}"


def operation_amounts(
    operation: Operation, tile: tuple[int, int], name: str | None = None
) -> Amounts:
    """The features of an operator.

    Args:
      operation: its numbers.
      tile: positions and outputs of the tiles in which matrices are multiplied.
      name: what the features are named after; as `name_of` says if None.
    """
    kind = name or name_of(operation)
    match kind:
        case "vector":
            found: Mapping[str, float] = _vector(operation, tile[1])
        case "matrix":
            found = _matrix(operation, *tile)
        case _ if operation.op == "DEPTHWISE_CONV_2D":
            found = _depthwise(operation)
        case _:
            found = _other(operation)
    return {f"{kind}/{part}": float(amount) for part, amount in found.items() if amount}


def _vector(operation: Operation, tile_outputs: int) -> dict[str, float]:
    padded = -(-operation.channels // tile_outputs) * tile_outputs
    depth = operation.kernel_inputs * operation.kernel[0] * operation.kernel[1]
    return {"operators": 1.0, "products": padded * depth, "outputs": padded, "inputs": depth}


def _matrix(operation: Operation, tile_rows: int, tile_outputs: int) -> dict[str, float]:
    window = operation.kernel[0] * operation.kernel[1]
    depth = operation.kernel_inputs * window
    tiles = -(-operation.channels // tile_outputs)
    padded = tiles * tile_outputs
    full, rest = divmod(operation.positions, tile_rows)
    found: dict[str, float] = {
        "operators": 1,
        "products": full * tile_rows * padded * depth,
        "tiles": full * tiles,
        "tile-taps": full * tiles * window,
        "rest-products": rest * padded * depth,
        "rest-passes": bool(rest) * padded * depth,
        "rest-tiles": bool(rest) * tiles,
        "outputs": operation.elements,
    }
    if window == operation.stride == 1:
        ragged = operation.positions * bool(operation.input_channels % _VECTOR)
        rows, inputs = operation.positions, operation.input_elements
        return found | {"rows": rows, "row-inputs": inputs, "ragged-rows": ragged}
    return found | {
        "patches": operation.positions,
        "patch-inputs": operation.positions * depth,
        "inputs": operation.input_elements,
    }


def _nearest(operation: Operation) -> tuple[int, int]:
    """Kernel and stride of the depthwise convolution measured that is most like one."""
    size, stride = max(operation.kernel), operation.stride
    return min(DEPTHWISE, key=lambda each: (abs(each[0] - size), abs(each[1] - stride)))


def _depthwise(operation: Operation) -> dict[str, float]:
    scale = (max(operation.kernel) / _nearest(operation)[0]) ** 2
    ragged = operation.positions * bool(operation.channels % _VECTOR)
    return {
        "operators": 1,
        "outputs": scale * operation.elements,
        "taps": operation.taps * operation.channels,
        "positions": scale * operation.positions,
        "ragged": scale * ragged,
        "inputs": operation.input_elements,
        "channels": operation.channels,
    }


def _other(operation: Operation) -> dict[str, float]:
    found: dict[str, float] = {
        "operators": 1,
        "elements": operation.elements,
        "positions": operation.positions,
        "rows": operation.rows,
        "ragged": operation.positions * bool(operation.channels % _VECTOR),
        "inputs": operation.input_elements,
        "input-positions": operation.input_positions,
    }
    if operation.kernel == (1, 1):
        return found
    return found | {
        "taps": operation.taps * operation.channels,
        "windows": operation.taps,
        "channels": operation.channels,
    }
