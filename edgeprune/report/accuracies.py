"""Accuracies side by side: float and the device's number format, dense and pruned."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from edgeprune.core.grid import Grid, grid
from edgeprune.inspection.accuracy import Accuracy, change, interval


@dataclass(frozen=True)
class AccuracyRow:
    """What one of the networks names correctly, with 95 % intervals; fractions of samples."""

    name: str
    """Number format and network: `float dense`, `int8 pruned`."""
    value: float
    ci95: tuple[float, float]
    samples: int
    runtime: str
    change: float | None = None
    """Against the first row, on the same samples; None where they are not known one by one."""
    change_ci95: tuple[float, float] | None = None

    def to_json(self) -> dict[str, Any]:
        """The fields."""
        found = asdict(self)
        pair = self.change_ci95
        return {**found, "ci95": list(self.ci95), "change_ci95": list(pair) if pair else None}


def accuracy_rows(found: Iterable[tuple[str, Accuracy]]) -> tuple[AccuracyRow, ...]:
    """The accuracies of networks by their names, each beside the first one."""
    pairs = list(found)
    return tuple(_row(name, each, pairs[0][1]) for name, each in pairs)


def _row(name: str, found: Accuracy, first: Accuracy) -> AccuracyRow:
    row = AccuracyRow(
        name, found.value, interval(found.value, found.samples), found.samples, found.runtime
    )
    right, against = found.right, first.right
    if found is first or right is None or against is None or len(right) != len(against):
        return row
    mean, between = change(right, against)
    return AccuracyRow(row.name, row.value, row.ci95, row.samples, row.runtime, mean, between)


def accuracy_grid(found: Iterable[tuple[str, AccuracyRow]]) -> Grid:
    """The accuracies of devices, each behind its device's name."""
    return grid(
        "Accuracy with 95 % intervals, and its change against float dense in points",
        ("=device", "network", ">accuracy", ">interval", ">change", ">interval of it", "in"),
        (
            (
                device,
                row.name,
                f"{row.value:.3f}",
                "{:.3f} to {:.3f}".format(*row.ci95),
                "-" if row.change is None else f"{100 * row.change:+.2f}",
                "-" if not row.change_ci95 else _points(row.change_ci95),
                f"{row.runtime}, {row.samples} samples",
            )
            for device, row in found
        ),
    )


def _points(pair: tuple[float, float]) -> str:
    low, high = (100 * value for value in pair)
    return f"{low:+.2f} to {high:+.2f}"
