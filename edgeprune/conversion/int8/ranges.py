"""The range of real values that every activation of a float file needs in int8."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edgeprune.tflite.format.graph import Graph


@dataclass(frozen=True)
class Range:
    """Between what the values of one tensor lie, in real numbers."""

    low: float
    high: float


Ranges = Mapping[str, Range]
"""By the name of the tensor in the float file."""


def activations(graph: Graph) -> tuple[int, ...]:
    """The tensors of a float file that have a range: float32, given or computed, in that order."""
    main = graph.subgraphs[0]
    computed = (index for operator in main.operators for index in operator.outputs if index >= 0)
    found = (main.tensors[index] for index in dict.fromkeys((*main.inputs, *computed)))
    return tuple(t.index for t in found if t.dtype == "float32" and not t.constant)
