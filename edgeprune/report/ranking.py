"""Rankings: the same model across devices, each number only beside numbers of its own kind.

Milliseconds, instructions and cycles are never put into one order, nor is what was measured with
what was simulated. A target that is not one of the device's own is left out. Cycles are of one
device each, since the clocks that they belong to differ; modelled cycles are of one core each, that
which the profiles name. Times on this computer are of one number format each.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal, TypeAlias

from edgeprune.core.grid import Grid, grid
from edgeprune.targets.modelled_cycles import fewer_cycles

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
SMALL_COUNT = 100_000
"""Counts below it are written out."""
INTERVAL = "95 % interval"
UNITS: tuple[Unit, ...] = ("ms", "modelled cycles", "instructions", "cycles")


@dataclass(frozen=True)
class InferenceCost:
    """What one inference costs by an instrument."""

    value: float
    unit: Unit

    @property
    def number(self) -> str:
        """The value for people, large counts in millions."""
        if self.unit == "ms":
            return f"{self.value:.3f}"
        if self.value < SMALL_COUNT:
            return f"{self.value:,.0f}"
        millions = self.value / 1e6
        return f"{millions:.1f} M" if millions >= 10 else f"{millions:.3g} M"

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


def cost_change(dense: Measurement | None, pruned: Measurement | None) -> str:
    """The cost before and after, with its unit: `2.000 → 1.000 ms`."""
    before = cost_of(dense) if dense else None
    after = cost_of(pruned) if pruned else None
    if before is None or after is None or before.unit != after.unit:
        return "-"
    return f"{before.number} → {after}"


@dataclass(frozen=True)
class Entry:
    """One device by one target: its unpruned and its pruned file."""

    dense: Measurement
    pruned: Measurement
    cost: InferenceCost
    """What one inference of the pruned file costs."""

    @property
    def dense_cost(self) -> InferenceCost | None:
        """The same of the unpruned file; None if that is not known in this unit."""
        return cost_in(self.dense, self.cost.unit)

    @property
    def change(self) -> str:
        """Both costs with their unit."""
        before = self.dense_cost
        return f"{before.number} → {self.cost}" if before else "-"

    @property
    def gain(self) -> str:
        """How much less the pruned file costs, in words; `-` where that is not known."""
        if self.cost.unit != "modelled cycles":
            return str(self.pruned.speedup or "-")
        core = self.pruned.cycles_core
        fewer = fewer_cycles(self.dense.modelled_cycles, self.pruned.modelled_cycles)
        return f"{fewer[core]:.2f}x by {self.cost.unit}" if core in fewer else "-"


@dataclass(frozen=True)
class Ranking:
    """Entries that may be compared, the cheapest first."""

    unit: Unit
    kind: str
    entries: tuple[Entry, ...]
    of: str = ""
    """What the entries have in common, where others of this unit and kind are ranked apart."""

    @property
    def title(self) -> str:
        """The unit, and what kind of number it is."""
        name = "Latency, ms" if self.unit == "ms" else self.unit.capitalize()
        of = f" of {self.of}" if self.of else ""
        return f"{name}{of} ({self.kind})"

    @property
    def names(self) -> tuple[str, ...]:
        """What each entry is called: its device, and its route where a device has several here."""
        routes: dict[str, set[str | None]] = {}
        for entry in self.entries:
            routes.setdefault(entry.pruned.device, set()).add(entry.pruned.route)
        return tuple(
            f"{m.device}, {m.route}" if m.route and len(routes[m.device]) > 1 else m.device
            for m in (entry.pruned for entry in self.entries)
        )

    def grid(self) -> Grid:
        """The entries below each other, with the interval of the pruned file's latency."""
        return grid(
            f"{self.title}: the cheapest first",
            (">", "=device", "by", ">dense → pruned", INTERVAL, "kind", "gain"),
            (
                (
                    str(place),
                    name,
                    f"{entry.pruned.target}, {entry.pruned.runtime}",
                    entry.change,
                    _interval(entry.pruned),
                    self.kind,
                    entry.gain,
                )
                for place, (name, entry) in enumerate(zip(self.names, self.entries, strict=True), 1)
            ),
        )


def _interval(measurement: Measurement) -> str:
    time = measurement.latency_ms
    return f"[{time.ci95[0]:.3f}, {time.ci95[1]:.3f}] ms" if time and time.ci95 else "-"


def rank(pairs: Iterable[tuple[Measurement, Measurement, str]]) -> tuple[Ranking, ...]:
    """Puts what may be compared into an order; what an instrument says nothing of is left out.

    Args:
      pairs: of every device and target, the measurements of the unpruned and the pruned file, and
        what they may be compared within alone, such as a number format; empty if within all.
    """
    groups: dict[tuple[Unit, str, str], list[Entry]] = {}
    for dense, pruned, within in pairs:
        for cost in () if pruned.stand_in else _costs(pruned):
            of = _comparable_within(pruned, cost.unit) or within
            groups.setdefault((cost.unit, pruned.kind, of), []).append(Entry(dense, pruned, cost))
    ordered = sorted(groups, key=lambda key: (UNITS.index(key[0]), key[1], key[2]))
    return tuple(
        Ranking(unit, kind, tuple(sorted(groups[unit, kind, of], key=_by_cost)), of)
        for unit, kind, of in ordered
    )


def _costs(measurement: Measurement) -> Iterator[InferenceCost]:
    """What a measurement is ranked by, each in a ranking of its own."""
    yield from filter(None, (cost_of(measurement), cost_in(measurement, "modelled cycles")))


def _comparable_within(measurement: Measurement, unit: Unit) -> str:
    """The device or core that cycles belong to; empty for other units."""
    if unit == "cycles":
        return measurement.device
    return measurement.cycles_core or "" if unit == "modelled cycles" else ""


def _by_cost(entry: Entry) -> float:
    return entry.cost.value
