"""Rankings: the same model across devices, each number only beside numbers of its own kind.

Milliseconds, instructions and cycles are never put into one order, nor is what was measured with
what was simulated. A target that is not one of the device's own is left out. Cycles are of one
device each, since the clocks that they belong to differ; modelled cycles are of one core each, that
which the profiles name. Times on this computer are of one number format each.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeprune.core.amounts import ms_text
from edgeprune.core.grid import Grid, grid
from edgeprune.targets.inference_cost import InferenceCost, Unit, cost_in, cost_of
from edgeprune.targets.modelled_cycles import fewer_cycles

if TYPE_CHECKING:
    from edgeprune.targets.measurement import Measurement


INTERVAL = "95 % interval"
UNITS: tuple[Unit, ...] = ("ms", "modelled cycles", "instructions", "cycles")


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
    return f"[{', '.join(map(ms_text, time.ci95))}] ms" if time and time.ci95 else "-"


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
