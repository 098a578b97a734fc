"""What a search is evaluating, for the process that goes on where native code crashed this one.

`cli/guard.py`, the parent of both, gives them a folder. It writes there why the one before died on
the task that was under way, and starts the search again, which joins its storage.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edgeprune.core.work_note import CRASH, UNDER_WAY
from edgeprune.searching.candidate import Task

_BEGAN = "search-began"


@dataclass(frozen=True)
class Crashes:
    """A folder of one search's own, which nobody else writes to."""

    folder: Path

    @property
    def goes_on(self) -> bool:
        """Whether an earlier process began this search."""
        return (self.folder / _BEGAN).exists()

    def began(self) -> float:
        """When the first of these processes began, by `time.monotonic`."""
        path = self.folder / _BEGAN
        if not self.goes_on:
            path.write_text(repr(time.monotonic()), encoding="utf-8")
        return float(path.read_text(encoding="utf-8"))

    def taken(self) -> dict[str, str]:
        """Why earlier processes died, by the key of the task; told once.

        What `compare` left in the same folder has no such key.
        """
        found = {}
        for path in sorted(self.folder.glob(f"{CRASH}*:*")):
            found[path.name.removeprefix(CRASH)] = path.read_text(encoding="utf-8")
            path.unlink()
        return found

    @contextlib.contextmanager
    def evaluating(self, task: Task) -> Iterator[None]:
        """Says that a task is under way while a block runs."""
        path = self.folder / UNDER_WAY
        path.write_text(task.key, encoding="utf-8")
        try:
            yield
        finally:
            path.unlink(missing_ok=True)
