"""What a comparison has finished, kept for a process that goes on where another one crashed.

`cli/guard.py`, the parent of both, gives them a folder. It names the device that was under way in a
file `crash-N` with the message for people, and starts the comparison again.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edgeprune.core.work_note import CRASH, UNDER_WAY
from edgeprune.report.device_report import DeviceReport
from edgeprune.report.entry import Entry


@dataclass(frozen=True)
class Memory:
    """A folder of one comparison's own, which nobody else writes to."""

    folder: Path

    def report(self, number: int, entry: Entry, make: Callable[[], DeviceReport]) -> DeviceReport:
        """The report of a device: the one kept, that it crashed, or one that is made now.

        Args:
          number: of the device, in the order asked for.
          entry: the device and its route.
          make: makes its report.
        """
        crash = self.folder / f"{CRASH}{number}"
        if crash.exists():
            message = crash.read_text(encoding="utf-8")
            device = entry.offered
            return DeviceReport(
                device=device.name,
                summary=device.summary,
                name=entry.name,
                route=entry.route,
                error=message,
            )
        kept = self.folder / f"finished-{number}"
        if kept.exists():
            found: DeviceReport = pickle.loads(kept.read_bytes())  # noqa: S301  our own file
            return found
        under_way = self.folder / UNDER_WAY
        under_way.write_text(str(number), encoding="utf-8")
        made = make()
        kept.write_bytes(pickle.dumps(made))
        under_way.unlink()
        return made
