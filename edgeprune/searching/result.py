"""What a search found: a front for every yardstick, with what to ship and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from edgeprune.core.amounts import amount_text, score_text, shown_unit
from edgeprune.core.grid import Cell, Grid, Judgement, Printable, grid, quantity
from edgeprune.searching.attempts import Attempt
from edgeprune.searching.budget import Budget
from edgeprune.searching.candidate import HalfAccuracy

SCHEMA = 1
"""Version of `search.json`, its key `schema`."""


@dataclass(frozen=True)
class Point:
    """A file that a search made, or a dense one that it is held against."""

    name: str
    """What it is called among others."""
    device: str
    route: str
    numerics: str
    how: str
    """How much is pruned, and what else was done; empty for dense files."""
    dense: bool
    """Whether nothing is pruned."""
    sparsity: float | None
    """Reached by the pattern's own count, else asked for; 0 for dense files."""
    epochs: int
    accuracy: HalfAccuracy | None
    drop: float | None
    """Lost against the dense float model on the half that selects."""
    cost: float
    """In the unit of its front."""
    cost_ci95: tuple[float, float] | None
    """What a clock leaves open of it, 95 %; None where nothing is timed."""
    expected: bool
    """Whether the cost is that of a table, not of an instrument."""
    size_bytes: int | None
    sha256: str | None
    command: str
    """What makes the file again."""
    file: str | None = None
    """Its place, relative to the search's folder; None where it is kept nowhere."""

    def to_json(self) -> dict[str, Any]:
        """The JSON form of the command-line contract."""
        return {
            "file": self.file,
            "device": self.device,
            "route": self.route,
            "sparsity": self.sparsity,
            "epochs": self.epochs,
            "accuracy": _accuracy_json(self.accuracy),
            "drop": self.drop,
            "cost": self.cost,
            "size_bytes": self.size_bytes,
            "command": self.command,
            **({"cost_ci95": list(self.cost_ci95)} if self.cost_ci95 else {}),
        }


def _accuracy_json(found: HalfAccuracy | None) -> dict[str, Any] | None:
    if found is None:
        return None
    pair = list(found.ci95) if found.ci95 else None
    return {"selected_on": found.selected_on, "reported_on": found.reported_on, "ci95": pair}


@dataclass(frozen=True)
class Front:
    """The files of devices that are measured by one yardstick, which nothing beats."""

    devices: tuple[str, ...]
    target: str | None
    """The instrument; None where costs are those of tables."""
    core: str | None
    unit: str
    """Unit of costs."""
    references: tuple[Point, ...]
    """The dense files, by number format."""
    points: tuple[Point, ...]
    """The cheapest first."""
    ship: int | None
    """Which of the points costs least of those within the budget."""
    nearest: Point | None
    """What misses the budget by the least, where nothing keeps it."""
    reason: str
    attempts: tuple[Attempt, ...] = ()
    """Everything that was evaluated, and what became of it."""
    without: tuple[str, ...] = ()
    """Devices of which no file keeps the budget."""
    needed: float | None = None
    """The accuracy on the selecting half that is just good enough."""

    @property
    def shipped(self) -> Point | None:
        """The point to ship."""
        return None if self.ship is None else self.points[self.ship]

    @property
    def beaten(self) -> tuple[Point, ...]:
        """The dense files that are no points of the front."""
        points = {point.name for point in self.points}
        return tuple(each for each in self.references if each.name not in points)

    @property
    def title(self) -> str:
        """Its devices, and by what they are measured."""
        by = self.target or "the cost table"
        core = f" ({self.core})" if self.core else ""
        return f"{', '.join(self.devices)}: {self.unit} by {by}{core}"

    def without_files(self) -> Front:
        """The same where its files are kept nowhere."""
        points = tuple(replace(each, file=None) for each in self.points)
        return replace(
            self, points=points, nearest=self.nearest and replace(self.nearest, file=None)
        )

    def verdict(self) -> str:
        """One line: what to ship, or that nothing is, and why."""
        if self.shipped is None:
            return f"Nothing to ship for {', '.join(self.devices)}: {self.reason}."
        what = self.shipped.file or self.shipped.name
        return f"Ship {what}: {self.reason}."

    def to_json(self) -> dict[str, Any]:
        """The JSON form of the command-line contract."""
        return {
            "devices": list(self.devices),
            "target": self.target,
            "core": self.core,
            "unit": self.unit,
            "references": [point.to_json() for point in self.references],
            "points": [point.to_json() for point in self.points],
            "ship": self.ship,
            "nearest": self.nearest.to_json() if self.nearest else None,
            "reason": self.reason,
        }

    def grid(self) -> Grid:
        """The points, the cheapest first, and the dense files below them."""
        rows = (self._cells(each) for each in (*self.points, *self.beaten))
        costliest = self._costliest
        beside = f">of dense {costliest.numerics}" if costliest else ">of dense"
        headings = (*_COLUMNS[:4], f">{shown_unit(self.unit)}", beside, *_COLUMNS[4:])
        return grid(self.title, headings, rows, self.verdict()).compact()

    def _cells(self, point: Point) -> tuple[Cell, ...]:
        accuracy = point.accuracy
        expected = " expected" if point.expected else ""
        return (
            Judgement("→", True) if point == self.shipped else "",
            point.device if len(self.devices) > 1 else "",
            f"dense {point.numerics}" if point.dense else point.route,
            point.how or "-",
            quantity(point.cost, lambda c: amount_text(c, self.unit) + expected),
            quantity(self._ratio(point), "{:.2f}".format),
            quantity(accuracy.selected_on if accuracy else None, score_text),
            quantity(accuracy.reported_on if accuracy else None, score_text),
            "-" if not accuracy or not accuracy.ci95 else "{:.3f}-{:.3f}".format(*accuracy.ci95),
            quantity(point.size_bytes, lambda size: f"{size / 1024:.0f}"),
        )

    @property
    def _costliest(self) -> Point | None:
        return max(self.references, key=lambda each: each.cost, default=None)

    def _ratio(self, point: Point) -> float | None:
        """Its cost as a part of that of the costliest dense file."""
        costliest = self._costliest
        return point.cost / costliest.cost if costliest and costliest.cost else None


_COLUMNS = (
    *("ship", "=device", "=route", "pruned"),
    *(">accuracy", ">other half", ">95 % interval", ">file, KiB"),
)


@dataclass(frozen=True)
class Trials:
    """How many candidates came how far."""

    done: int
    """Evaluated in full, dense ones not counted."""
    dropped: int
    """Looked at, and not taken further."""
    failed: int

    def __str__(self) -> str:
        return f"{self.done} evaluated in full, {self.dropped} dropped, {self.failed} failed"


@dataclass(frozen=True)
class Seconds:
    """Where the time of a search went."""

    total: float
    overhead: float
    """What was not pruning, exporting, running, measuring or training."""

    def __str__(self) -> str:
        part = f", {100 * self.overhead / self.total:.1f} % of it overhead" if self.total else ""
        return f"{self.total:.0f} s{part}"


@dataclass(frozen=True)
class Search(Printable):
    """What a search found on all its devices."""

    model: str
    model_sha256: str
    data_sha256: str
    budget: Budget
    seed: int
    fronts: tuple[Front, ...]
    trials: Trials
    seconds: Seconds
    complete: bool = True
    """Whether there was nothing left to try when it ended."""
    environment: dict[str, str] = field(default_factory=dict)
    """Versions by name of what files depend on."""

    @property
    def ok(self) -> bool:
        """Whether every device has a file within the budget."""
        return all(front.ship is not None and not front.without for front in self.fronts)

    def to_json(self) -> dict[str, Any]:
        """The JSON form of the command-line contract."""
        return {
            "schema": SCHEMA,
            "model": self.model,
            "model_sha256": self.model_sha256,
            "data_sha256": self.data_sha256,
            "budget": self.budget.to_json(),
            "seed": self.seed,
            "fronts": [front.to_json() for front in self.fronts],
            "trials": {
                "done": self.trials.done,
                "dropped": self.trials.dropped,
                "failed": self.trials.failed,
            },
            "seconds": {"total": self.seconds.total, "overhead": self.seconds.overhead},
        }

    def files(self) -> tuple[Point, ...]:
        """The points that are files in the search's folder."""
        return tuple(point for front in self.fronts for point in front.points if point.file)

    def verdicts(self) -> Sequence[str]:
        """A line for every front: what to ship, or why nothing is."""
        return [front.verdict() for front in self.fronts]

    def grids(self) -> tuple[Grid, ...]:
        """A table for every front."""
        return tuple(front.grid() for front in self.fronts)
