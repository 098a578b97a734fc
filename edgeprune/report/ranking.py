"""Rankings: the same model across devices, each number only beside numbers of its own kind.

Milliseconds, instructions and cycles are never put into one order, nor is what was measured with
what was simulated. A target that is not one of the device's own is left out. Cycles are of one
device each, since the clocks that they belong to differ. Times on this computer are of one number
format each.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from edgeprune.core.grid import Grid, grid

if TYPE_CHECKING:
    from edgeprune.targets.measurement import Measurement


Unit = Literal["ms", "instructions", "cycles"]
SMALL_COUNT = 100_000
"""Counts below it are written out."""
INTERVAL = "95 % interval"
UNITS: tuple[Unit, ...] = ("ms", "instructions", "cycles")


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

    def __str__(self) -> str:
        return f"{self.number} {self.unit}"


def cost_of(measurement: Measurement) -> InferenceCost | None:
    """Latency, else instructions, else cycles; None if the instrument says nothing of work.

    Latency counts by its median, or by the average where that alone is known.
    """
    time = measurement.latency_ms
    if time is not None:
        value = time.median if time.median is not None else time.mean
        return None if value is None else InferenceCost(value, "ms")
    if measurement.instructions is not None:
        return InferenceCost(measurement.instructions, "instructions")
    return None if measurement.cycles is None else InferenceCost(measurement.cycles, "cycles")


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
    def change(self) -> str:
        """Both costs with their unit."""
        return cost_change(self.dense, self.pruned)


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
        names = {"ms": "Latency, ms", "instructions": "Instructions", "cycles": "Cycles"}
        of = f" of {self.of}" if self.of else ""
        return f"{names[self.unit]}{of} ({self.kind})"

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
                    str(entry.pruned.speedup or "-"),
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
        cost = cost_of(pruned)
        if cost is not None and not pruned.stand_in:
            of = pruned.device if cost.unit == "cycles" else within
            groups.setdefault((cost.unit, pruned.kind, of), []).append(Entry(dense, pruned, cost))
    ordered = sorted(groups, key=lambda key: (UNITS.index(key[0]), key[1], key[2]))
    return tuple(
        Ranking(unit, kind, tuple(sorted(groups[unit, kind, of], key=_by_cost)), of)
        for unit, kind, of in ordered
    )


def _by_cost(entry: Entry) -> float:
    return entry.cost.value
