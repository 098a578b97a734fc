"""What the steps of a comparison leave for the next run, so that it does only what changed.

Every step has a record, a JSON file in `.edgeprune` inside the output folder: by what it was made
(digests by name, see `fingerprint`), the files that it wrote with their digests, and what it found.
A record holds only while all of that is as it was; whatever else is there, the step is done again.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from edgeprune.core import digest
from edgeprune.core.digest import Fingerprint
from edgeprune.core.files import make_output_folder, write_file
from edgeprune.core.lock import held

FOLDER = ".edgeprune"
"""The folder of records. The steps of a device are named after it; a plus sign, which no name
of a device has, begins what else is in a step's name."""
LOCK = "lock"
_SCHEMA = 1


def for_people(date: str) -> str:
    """A date in ISO 8601 and UTC to the minute: `2026-11-27 17:05 UTC`."""
    return f"{date[:10]} {date[11:16]} UTC"


@dataclass(frozen=True)
class Kept:
    """What a step found in an earlier run."""

    content: Any
    date: str
    """When, in ISO 8601, UTC."""

    @property
    def day(self) -> str:
        """When, for people."""
        return for_people(self.date)


@dataclass(frozen=True)
class Store:
    """The records of an output folder."""

    output: Path
    force: bool = False
    """Whether every step is done again, once."""
    _renewed: set[str] = field(default_factory=set, compare=False)
    """The steps that were kept by this very run."""

    @property
    def folder(self) -> Path:
        """Where the records are."""
        return self.output / FOLDER

    @contextlib.contextmanager
    def held(self, waiting: Callable[[], None]) -> Iterator[None]:
        """Keeps other processes from the output folder while a block runs.

        Args:
          waiting: told once if another process works there, which is then waited for.

        Raises:
          OutputError: the folder of the records cannot be made.
        """
        make_output_folder(self.folder)
        with held(self.folder / LOCK, waiting):
            yield

    def find(self, step: str, made_from: Fingerprint) -> Kept | str:
        """What a step left, if all is as it was; else what changed, in a few words.

        The words are empty if there is no record, or if every step is to be done again.
        """
        path = self._path(step)
        if (self.force and step not in self._renewed) or not path.exists():
            return ""
        record = _read(path)
        if record is None:
            return "its record is damaged"
        changed = sorted(
            name
            for name in {*made_from, *record["made_from"]}
            if made_from.get(name) != record["made_from"].get(name)
        )
        if changed:
            return f"the {' and the '.join(changed)} changed"
        for name, sha256 in record["files"].items():
            if digest.of_file(self.output / name) != sha256:
                return f"{name} was changed or removed"
        return Kept(record["content"], record["date"])

    def keep(self, step: str, made_from: Fingerprint, files: Sequence[Path], content: Any) -> str:
        """Writes the record of a step; returns its date.

        Args:
          step: its name.
          made_from: what it was made from.
          files: that it wrote, in the output folder.
          content: what it found, as JSON has it.

        Raises:
          OutputError: it cannot be written.
        """
        date = datetime.now(timezone.utc).isoformat(timespec="seconds")
        record = {
            "schema": _SCHEMA,
            "date": date,
            "made_from": dict(made_from),
            "files": {path.name: digest.of_file(path) for path in files},
            "content": content,
        }
        text = json.dumps({**record, "sha256": digest.of_json(record)})
        write_file(self._path(step), text.encode())
        self._renewed.add(step)
        return date

    def _path(self, step: str) -> Path:
        return self.folder / f"{step}.json"


def _read(path: Path) -> dict[str, Any] | None:
    """A record as it was written; None if it is damaged, or of another version."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        sha256 = found.pop("sha256")
        sound = sha256 == digest.of_json(found) and found["schema"] == _SCHEMA
    except (OSError, ValueError, RecursionError, AttributeError, KeyError, TypeError):
        return None
    return found if sound else None
