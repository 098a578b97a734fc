"""What the page of a report shows of one device first: what to ship, its files, their picture."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from urllib.parse import quote

from edgeprune.report.charts import Chart
from edgeprune.report.device_files import DeviceFile, Finished, Scale, files_of, scales_of
from edgeprune.report.headline import Shipping
from edgeprune.report.pareto import plot_pareto
from edgeprune.targets.measurement import Measurement


@dataclass(frozen=True)
class DeviceView:
    """One device with all its routes, as a page shows it."""

    name: str
    ship: Shipping | None
    """The file to ship; None if no route was finished."""
    needs: tuple[str, ...]
    """What the file to ship needs of the place that it runs in."""
    files: tuple[DeviceFile, ...]
    conditions: tuple[str, ...]
    """What measured its files, and how."""
    place: str
    """What the part of the page is called that says more of its file to ship."""

    @cached_property
    def shipped(self) -> DeviceFile | None:
        """The file to ship among its files."""
        return next((file for file in self.files if self.ships(file)), None)

    def ships(self, file: DeviceFile) -> bool:
        """Whether a file is the one to ship."""
        path = self.ship.artifact if self.ship else None
        return file.artifact is not None and file.artifact.path == path

    @cached_property
    def scales(self) -> tuple[Scale, ...]:
        """The scales of its files' costs, a column of the table each."""
        return scales_of(self.files)

    @cached_property
    def picture(self) -> Chart | None:
        """Accuracy against cost; None where there is too little to show."""
        path = self.ship.artifact if self.ship else None
        return plot_pareto(f"Accuracy against cost: {self.name}", self.files, path)


def view_of(name: str, routes: Sequence[Finished], chosen: Finished) -> DeviceView:
    """A device as a page shows it.

    Args:
      name: its own.
      routes: what came of it on each.
      chosen: the route whose file is to ship.
    """
    found = (m for route in routes for m in (*route.dense, *route.pruned) if not m.stand_in)
    return DeviceView(
        name=name,
        ship=chosen.ship,
        needs=chosen.loading[0].needs if chosen.loading else (),
        files=files_of(routes),
        conditions=tuple(dict.fromkeys(_said(measured) for measured in found)),
        place=chosen.title,
    )


def _said(found: Measurement) -> str:
    text = f"{found.source}{f': {found.conditions}' if found.conditions else ''}."
    return text[:1].upper() + text[1:]


def link_to(file: DeviceFile) -> str:
    """The address of a file that lies beside the page; empty for none."""
    return f"./{quote(file.artifact.path.name)}" if file.artifact else ""


def embedded(content: Any) -> str:
    """JSON that can stand within a `<script>`: nothing in it ends one."""
    text = json.dumps(content, allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
