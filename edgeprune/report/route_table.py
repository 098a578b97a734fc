"""What routes cost, side by side: one table, and which is the fastest by what."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal, TypeAlias

from edgeprune.core.grid import Grid, Printable, grid
from edgeprune.core.terms import Numerics
from edgeprune.report.ranking import cost_change
from edgeprune.targets.inference_cost import RANKED_BY, Unit, cost_in, cost_of, ranking_costs
from edgeprune.targets.measurement import Measurement

Need: TypeAlias = Literal["data", "labels", "training"]
RankedBy: TypeAlias = Literal[
    "latency_ms", "cycles", "modelled_cycles", "instructions", "cost-table"
]
_FEWER: Mapping[Unit, str] = MappingProxyType(
    {
        "ms": "faster",
        "cycles": "fewer cycles",
        "modelled cycles": "fewer modelled cycles",
        "instructions": "fewer instructions",
    }
)


@dataclass(frozen=True)
class RouteResult:
    """One route: what it takes, and what its files cost."""

    route: str
    numerics: Numerics
    pattern: str | None
    """None for a dense route."""
    asked: float
    """Sparsity asked for."""
    reached: float | None
    """Sparsity of the file; None if there is none."""
    needs: tuple[Need, ...]
    """What it takes to keep the model's accuracy."""
    dense: Measurement | None
    """The unpruned file in the same number format; for a dense route, its own."""
    pruned: Measurement | None
    """Its `speedup` is beside the unpruned file."""
    size_bytes: int | None
    """Size of the file that would be shipped."""
    gains: bool | None
    """Whether the pruned file costs less than the unpruned one in the same number format; for a
    dense route, less than dense float32. None if that is not known."""
    reason: str
    """What stands in the way, or what the gain is."""
    failed: bool = False
    """Whether a check of one of its files failed."""
    expected: float | None = None
    """What the device's cost table expects one inference of its file to cost."""

    @property
    def own(self) -> Measurement | None:
        """The measurement of the file that would be shipped."""
        return self.dense if self.pattern is None else self.pruned

    def to_json(self) -> dict[str, Any]:
        """The JSON form of the command-line contract."""
        return {
            "route": self.route,
            "numerics": self.numerics,
            "pattern": self.pattern,
            "sparsity": {"asked": self.asked, "reached": self.reached},
            "needs": list(self.needs),
            "expected": self.expected,
            "dense": self.dense.to_json() if self.dense else None,
            "pruned": self.pruned.to_json() if self.pruned else None,
            "size_bytes": self.size_bytes,
            "gains": self.gains,
            "reason": self.reason,
        }


@dataclass(frozen=True)
class Routes(Printable):
    """All routes of a device for one model, in the order of the profile."""

    model: str
    device: str
    runtime: str
    """What ran the files, else the first that the device lists."""
    routes: tuple[RouteResult, ...]
    not_measured: str = ""
    """Why nothing was measured, and what would; empty if it was."""

    @property
    def ok(self) -> bool:
        """Whether no check of a file failed."""
        return not any(result.failed for result in self.routes)

    @property
    def unit(self) -> Unit | None:
        """What the instrument counts, in which routes are compared; None if it counts nothing."""
        costs = ranking_costs([result.own for result in self.routes if result.own])
        return costs[0].unit if costs else None

    @property
    def ranked_by(self) -> RankedBy:
        """By what the fastest is found."""
        return RANKED_BY[self.unit] if self.unit else "cost-table"

    def cost(self, result: RouteResult) -> float | None:
        """What a route is ranked by; None where it has no place among the others."""
        if self.unit is None:
            return result.expected
        cost = cost_in(result.own, self.unit) if result.own else None
        return cost.value if cost else None

    @property
    def ranked(self) -> tuple[RouteResult, ...]:
        """The routes that have a cost, the cheapest first."""
        costs = [(cost, r) for r in self.routes if (cost := self.cost(r)) is not None]
        return tuple(result for _, result in sorted(costs, key=lambda pair: pair[0]))

    @property
    def fastest(self) -> RouteResult | None:
        """The cheapest; None if none has a cost, or the cheapest costs what its dense file does."""
        first = next(iter(self.ranked), None)
        beaten = first is not None and first.pattern is not None and first.gains is False
        return None if beaten else first

    def to_json(self) -> dict[str, Any]:
        """The JSON form of the command-line contract."""
        return {
            "model": self.model,
            "device": self.device,
            "runtime": self.runtime,
            "ranked_by": self.ranked_by,
            "fastest": self.fastest.route if self.fastest else None,
            "routes": [result.to_json() for result in self.routes],
        }

    def verdict(self) -> str:
        """The fastest route, beside the dense files; or why there is none."""
        if self.fastest is None:
            unknown = "not known, since nothing tells what one inference costs"
            none = "none is faster than the dense model" if self.ranked else unknown
            return f"Fastest route of {self.device}: {none}."
        beside = ", ".join(self._beside(self.fastest))
        said = f"Fastest route of {self.device}: {self.fastest.route}"
        return f"{said} ({beside})." if beside else f"{said}, by the cost table."

    def _beside(self, result: RouteResult) -> list[str]:
        """A route's cost, and how many times more dense files cost."""
        own = cost_in(result.own, self.unit) if result.own and self.unit else None
        if own is None:
            return []
        dense = [(r.numerics, r.dense) for r in self.routes if r.dense]
        others = {name: cost for name, each in dense if (cost := cost_in(each, own.unit))}
        return [
            str(own),
            *(
                f"{cost.value / own.value:.2f}x {_FEWER[own.unit]} than dense {name}"
                for name, cost in others.items()
                if result.pattern is not None or name != result.numerics
            ),
        ]

    def _order(self) -> str:
        """By what the table is ordered, and what said so."""
        if self.unit is not None:
            return f"by {self.ranked_by.removesuffix('_ms').replace('_', ' ')}, {self.runtime}"
        return f"{'by the cost table' if self.ranked else 'not ranked'}, {self.runtime}"

    def grids(self) -> tuple[Grid, ...]:
        """Every route, the cheapest first; then those without a cost."""
        rest = [result for result in self.routes if result not in self.ranked]
        made = grid(
            f"{self.model} on {self.device}: {self._order()}",
            _COLUMNS,
            map(_cells, (*self.ranked, *rest)),
            self.verdict(),
            *([self.not_measured] if self.not_measured else []),
        )
        return (made.compact(),)


_COLUMNS = (
    *("=route", "numerics", "pattern", ">sparsity asked / reached", ">expected"),
    *(">dense → pruned", ">KiB", "needs", "gain, or what stands in the way"),
)


def _cells(result: RouteResult) -> tuple[str, ...]:
    return (
        result.route,
        result.numerics,
        result.pattern or "-",
        _sparsity(result),
        "-" if result.expected is None else f"{result.expected:,.0f}",
        _costs(result),
        "-" if result.size_bytes is None else f"{result.size_bytes / 1024:.0f}",
        ", ".join(result.needs) or "nothing",
        result.reason or "-",
    )


def _sparsity(result: RouteResult) -> str:
    if result.pattern is None:
        return "-"
    reached = "-" if result.reached is None else f"{result.reached:.3f}"
    return f"{result.asked:g} / {reached}"


def _costs(result: RouteResult) -> str:
    if result.pruned is not None:
        return cost_change(result.dense, result.pruned)
    cost = cost_of(result.dense) if result.dense else None
    return str(cost or "-")
