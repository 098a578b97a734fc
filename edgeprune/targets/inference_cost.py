"""What one inference costs by an instrument, in milliseconds, instructions or cycles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal, TypeAlias

from edgeprune.core.amounts import amount_text

if TYPE_CHECKING:
    from edgeprune.targets.measurement import Measurement

Unit = Literal["ms", "modelled cycles", "instructions", "cycles"]
RankedBy: TypeAlias = Literal["latency_ms", "cycles", "modelled_cycles", "instructions"]
"""The key of a measurement's JSON by which files are ranked."""
RANKED_BY: Mapping[Unit, RankedBy] = MappingProxyType(
    {
        "ms": "latency_ms",
        "cycles": "cycles",
        "modelled cycles": "modelled_cycles",
        "instructions": "instructions",
    }
)
"""What files are ranked by, the best first."""


@dataclass(frozen=True)
class InferenceCost:
    """What one inference costs by an instrument."""

    value: float
    unit: Unit

    @property
    def number(self) -> str:
        """The value for people, large counts in millions."""
        return amount_text(self.value, self.unit)

    @property
    def ranked_by(self) -> RankedBy:
        """The key of a measurement's JSON that the value is from."""
        return RANKED_BY[self.unit]

    def __str__(self) -> str:
        return f"{self.number} {self.unit}"


def cost_of(measurement: Measurement) -> InferenceCost | None:
    """Latency, else instructions, else cycles; None if the instrument says nothing of work.

    Latency counts by its median, or by the average where that alone is known.
    """
    if measurement.latency_ms is not None:
        return cost_in(measurement, "ms")
    return cost_in(measurement, "instructions") or cost_in(measurement, "cycles")


def ranking_costs(measurements: Sequence[Measurement]) -> tuple[InferenceCost, ...]:
    """What files are ranked by: the best of `RANKED_BY` that every measurement has.

    Latency, else the compiler's cycles, else modelled cycles where the profile names a core for
    them, else instructions. Measurements of one device and instrument are meant.

    Returns:
      A cost for every measurement, all in one unit; none where they have no unit in common.
    """
    for unit in RANKED_BY:
        costs = [cost_in(measurement, unit) for measurement in measurements]
        known = tuple(cost for cost in costs if cost is not None)
        if len(known) == len(costs):
            return known
    return ()


def cost_in(measurement: Measurement, unit: Unit) -> InferenceCost | None:
    """The cost in one unit; None where the instrument does not say it."""
    value = _value(measurement, unit)
    return None if value is None else InferenceCost(value, unit)


def _value(measurement: Measurement, unit: Unit) -> float | None:
    match unit:
        case "ms":
            time = measurement.latency_ms
            median = time.median if time else None
            return median if median is not None or time is None else time.mean
        case "modelled cycles":
            core = measurement.cycles_core
            found = (measurement.modelled_cycles or {}).get(core) if core else None
            return found.cycles if found else None
        case "instructions":
            return measurement.instructions
        case "cycles":
            return measurement.cycles
