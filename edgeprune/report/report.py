"""Reports: what came out for every device, as JSON for machines and one HTML page for people."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from edgeprune.core.files import write_file
from edgeprune.core.grid import Grid, Printable
from edgeprune.report.charts import plot_report
from edgeprune.report.device_report import (
    DeviceReport,
    accuracy_grids,
    baseline_grids,
    device_grid,
)
from edgeprune.report.device_view import DeviceView, embedded, link_to, view_of
from edgeprune.report.headline import Shipping, cheapest
from edgeprune.report.layer_changes import change_grid
from edgeprune.report.pages import render
from edgeprune.report.ranking import Ranking, rank
from edgeprune.targets.find import times_this_computer

REPORT_FILES = ("report.json", "report.html")
"""Names of the files that a report is written to."""


@dataclass(frozen=True)
class Report(Printable):
    """All devices of one `compare`."""

    model: str
    devices: tuple[DeviceReport, ...]
    scaling: str = ""
    """A sentence that says what uint8 data became; empty if there was none."""
    command: str = ""
    """What makes the report again, for a shell; empty where no command line asked for it."""
    environment: dict[str, str] = field(default_factory=dict)
    """Versions by name of what files depend on."""

    @property
    def ok(self) -> bool:
        """Whether every device was finished and every check passed."""
        return all(device.ok for device in self.devices)

    @property
    def rankings(self) -> tuple[Ranking, ...]:
        """The devices in order, by every kind of number that is there."""
        return rank(
            (dense, pruned, device.numerics if times_this_computer(pruned.target) else "")
            for device in self.devices
            for dense, pruned in zip(device.dense, device.pruned, strict=True)
        )

    @property
    def shown_rankings(self) -> tuple[Ranking, ...]:
        """Those that say more than one line per device does."""
        several = any(len(device.pruned) > 1 for device in self.devices)
        return tuple(r for r in self.rankings if several or len(r.entries) > 1)

    def to_json(self) -> dict[str, Any]:
        """The JSON form of the command-line contract."""
        devices = [device.to_json() for device in self.devices]
        return {
            "model": self.model,
            "devices": devices,
            "ship": self.ship.to_json() if self.ship else None,
            "scaling": self.scaling or None,
        }

    @property
    def ship(self) -> Shipping | None:
        """What to ship for the first device of which a file gains; None if none is proven to."""
        gaining = (device for device in self.devices if device.gain.proven == "gain")
        first = next((each for each in gaining if each.ship and each.ship.artifact), None)
        return self.shipping(first.device).ship if first else None

    def shipping(self, device: str) -> DeviceReport:
        """The route of a device whose file to ship costs least; its first if there is none."""
        routes = [each for each in self.devices if each.device == device]
        return routes[cheapest([each.ship for each in routes])]

    def overview(self) -> Grid:
        """One line for every device, and for each of its routes."""
        return device_grid(f"{self.model}: dense → pruned", self.devices)

    def grids(self) -> tuple[Grid, ...]:
        """One line for every device, the rankings, and every measurement."""
        said = (
            *((device, note) for device in self.devices for note in device.said),
            *((device, str(device.ship)) for device in self.devices if device.ship),
            *((device, f"Error: {text}") for device in self.devices for text in device.problems),
        )
        notes = tuple(f"{device.title}: {text}" for device, text in said)
        return (
            replace(self.overview(), notes=notes),
            *accuracy_grids(self.devices),
            *baseline_grids(self.devices),
            *(ranking.grid() for ranking in self.shown_rankings),
            *(found for device in self.devices for found in device.measurements.grids()),
        )

    def write(self, folder: Path) -> None:
        """Writes `report.json` and `report.html` into a folder.

        Raises:
          OutputError: they cannot be written.
        """
        text = json.dumps(self.to_json(), indent=2, allow_nan=False)
        for name, content in zip(REPORT_FILES, (text, self.to_html()), strict=True):
            write_file(folder / name, content.encode())

    def to_html(self) -> str:
        """One page that needs nothing else, its plots inside."""
        names = dict.fromkeys(device.device for device in self.devices)
        return render(
            "report.html",
            report=self,
            views=[self._view(name) for name in names],
            link_to=link_to,
            charts=plot_report(self.devices, self.rankings),
            grids=(*accuracy_grids(self.devices), *baseline_grids(self.devices)),
            change_grid=change_grid,
            data=embedded(self.to_json()),
        )

    def _view(self, name: str) -> DeviceView:
        routes = [each for each in self.devices if each.device == name]
        return view_of(name, routes, self.shipping(name))
