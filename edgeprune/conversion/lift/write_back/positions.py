"""Which positions slices take and pads add in the smaller Keras model.

Shapes leave that open where a slice lies in the middle of the channels, or pads on both sides.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from edgeprune.conversion.lift.layers import ChannelPad
from edgeprune.conversion.lift.lifted import Lifted
from edgeprune.keras_model.calls import nodes_of
from edgeprune.keras_model.layers import Model

Pad: TypeAlias = tuple[int, int]


@dataclass(frozen=True)
class Positions:
    """By the index of an operator of subgraph 0; those that Keras does without are not there."""

    taken: Mapping[int, tuple[slice, ...]] = field(default_factory=dict)
    """What is taken of each axis."""
    added: Mapping[int, tuple[Pad, ...]] = field(default_factory=dict)
    """What is added before and behind the last axes."""


def new_positions(lifted: Lifted, pruned: Model) -> Positions:
    """Reads slices and pads off the model that channels were removed from."""
    taken: dict[int, tuple[slice, ...]] = {}
    added: dict[int, tuple[Pad, ...]] = {}
    for operation in pruned.operations:
        index = lifted.operators.get(operation.name)
        if index is None:
            continue
        kind = type(operation).__name__
        if kind == "GetItem":
            taken[index] = _keys(operation)
        elif kind == "Pad":
            added[index] = tuple((int(a), int(b)) for a, b in operation.pad_width)
        elif isinstance(operation, ChannelPad):
            added[index] = ((operation.before, operation.after),)
    return Positions(taken, added)


def _keys(operation: Any) -> tuple[slice, ...]:
    """What `operators.slicing` wrote: a slice for each axis."""
    keys: tuple[slice, ...] = nodes_of(operation)[0].arguments.args[1]
    return keys
