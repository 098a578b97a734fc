"""Finds what operators cost in a number format, from counts of small networks.

Every network is a sum of features with known amounts (see `profiles/operation_costs.py`), and there
are more networks than features, so non-negative least squares gives the features' costs.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import nnls

from edgeprune.core.arrays import Array
from edgeprune.core.terms import Numerics
from edgeprune.profiles.operation_costs import MATRIX, Amounts, FormatCosts, operation_amounts
from edgeprune.profiles.operations import Operation, operations_of
from edgeprune.tflite.format.graph import Graph

_TILE_ROWS = (1, 2, 3, 4, 6, 8)
_TILE_OUTPUTS = (4, 8, 12, 16, 32)


@dataclass(frozen=True)
class Counted:
    """A network's operators, the values that it reads and writes, and its count."""

    operations: tuple[Operation, ...]
    read: int
    written: int
    instructions: int


def counted(graph: Graph, instructions: int) -> Counted:
    """What is known of a network whose instructions were counted."""
    main = graph.subgraphs[0]
    sizes = [int(np.prod(tensor.shape)) for tensor in main.tensors]
    return Counted(
        tuple(operations_of(main.tensors, main.operators)),
        sum(sizes[index] for index in main.inputs),
        sum(sizes[index] for index in main.outputs),
        instructions,
    )


def solve_operators(found: Sequence[Counted], numerics: Numerics) -> FormatCosts:
    """The costs that explain the counts best, with relative errors as the measure.

    The tile of matrices is that of the combination with the least error on the networks that
    multiply some.
    """
    multiply = [each for each in found if any(op.op in MATRIX for op in each.operations)]
    tiles = itertools.product(_TILE_ROWS, _TILE_OUTPUTS)
    tile = min(tiles, key=lambda each: _solve(multiply, each)[1])
    costs, error = _solve(found, tile)
    return FormatCosts(
        numerics=numerics,
        tile=tile,
        costs={name: float(f"{value:.4g}") for name, value in costs.items()},
        error=float(f"{error:.2g}"),
    )


def _solve(found: Sequence[Counted], tile: tuple[int, int]) -> tuple[dict[str, float], float]:
    """Costs by feature, and the root mean square of the relative errors."""
    rows = [_amounts(each, tile) for each in found]
    names = sorted({name for row in rows for name in row})
    matrix = np.array([[row.get(name, 0.0) for name in names] for row in rows])
    measured = np.array([each.instructions for each in found], float)
    scaled: Array = matrix / measured[:, None]
    costs, _ = nnls(scaled, np.ones(len(found)), maxiter=100 * len(names))
    error = float(np.sqrt(np.mean((scaled @ costs - 1) ** 2)))
    return dict(zip(names, costs.tolist(), strict=True)), error


def _amounts(each: Counted, tile: tuple[int, int]) -> Amounts:
    total: Amounts = {"start": 1.0, "read": float(each.read), "written": float(each.written)}
    for operation in each.operations:
        for name, amount in operation_amounts(operation, tile).items():
            total[name] = total.get(name, 0.0) + amount
    return total
