"""Modelled cycles: what executed code would take on a core by a scheduling model, beside counts.

They are no times: a model of the core prices the code that an emulator executed, and takes every
access to memory for a hit in the first cache. What those caches would miss is said beside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edgeprune.core.terms import ModelledCore

MODELLED = "modelled cycles"


@dataclass(frozen=True)
class ModelledCycles:
    """What one inference takes on a core by its model; never a time."""

    cycles: int
    """Extrapolated from the priced instructions to all of them."""
    priced: float
    """Fraction of the executed instructions that the model priced."""
    misses: dict[str, int]
    """Cache lines that one inference misses in simulated caches, by level: l1, l2 and l3. None of
    them is in the cycles."""


def fewer_cycles(
    first: Mapping[ModelledCore, ModelledCycles] | None,
    other: Mapping[ModelledCore, ModelledCycles] | None,
) -> dict[ModelledCore, float]:
    """How many times fewer cycles than the first, by the core, where both have them."""
    if not first or not other:
        return {}
    return {core: first[core].cycles / other[core].cycles for core in other if core in first}


def fewer_cycles_text(
    first: Mapping[ModelledCore, ModelledCycles] | None,
    other: Mapping[ModelledCore, ModelledCycles] | None,
) -> str:
    """The same for people: `2.50x by modelled cycles of neoverse-n1, 2.15x of cortex-a55`."""
    told = [f"{ratio:.2f}x of {core}" for core, ratio in fewer_cycles(first, other).items()]
    return ", ".join(told).replace("x of", f"x by {MODELLED} of", 1)
