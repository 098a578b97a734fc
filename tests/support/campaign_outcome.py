"""What a campaign counts: the faults of each case, and figures that add up over pieces."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

FAULTS = ("tracebacks", "hangs", "over 1 GB", "wrong outputs", "torn files", "orphans")
"""What may not happen; any other count is told apart and fails nothing."""
LONGEST_S = 10.0
MOST_BYTES = 1 << 30


@dataclass(frozen=True)
class Outcome:
    """How one case ended.

    `faults` are pairs of a member of `FAULTS` and what was seen; `notes` are names of what is only
    counted.
    """

    number: int
    faults: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()

    def to_line(self) -> str:
        """One line of JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def from_line(cls, line: str) -> Outcome:
        """The value that `to_line` wrote."""
        found = json.loads(line)
        faults = tuple((kind, words) for kind, words in found["faults"])
        return cls(found["number"], faults, tuple(found["notes"]))


def figures(outcomes: Sequence[Outcome]) -> Counter[str]:
    """Counts cases by what happened in them; a case counts once for each kind of fault."""
    counts = Counter({"tried": len(outcomes), **dict.fromkeys(FAULTS, 0)})
    for outcome in outcomes:
        counts.update({kind for kind, _ in outcome.faults})
        counts.update(outcome.notes)
    return counts


def failed(counts: Counter[str]) -> bool:
    """Whether any figure that has to be 0 is not."""
    return any(counts[kind] for kind in FAULTS)


def summary(part: str, counts: Counter[str]) -> str:
    """The last line of a campaign."""
    first = ("tried", *FAULTS)
    others = sorted(set(counts) - set(first))
    return f"{part}: " + ", ".join(f"{name} {counts[name]}" for name in (*first, *others))


def add_up(
    folder: Path, part: str, piece: dict[str, int], outcomes: Sequence[Outcome]
) -> Counter[str]:
    """Appends a piece to `campaign.json`; returns the figures of all pieces of the part.

    Args:
      folder: where the file is, or will be.
      part: of the campaign.
      piece: what was run: seed, first number and count.
      outcomes: of the piece's cases.
    """
    path = folder / "campaign.json"
    pieces: list[dict[str, Any]] = json.loads(path.read_text()) if path.exists() else []
    bad = [asdict(outcome) for outcome in outcomes if outcome.faults]
    pieces.append({"part": part, **piece, "figures": figures(outcomes), "failed": bad})
    folder.mkdir(parents=True, exist_ok=True)
    new = path.with_suffix(".new")
    new.write_text(json.dumps(pieces, indent=1) + "\n")
    new.replace(path)
    total: Counter[str] = Counter(dict.fromkeys(("tried", *FAULTS), 0))
    for found in pieces:
        if found["part"] == part:
            total.update(found["figures"])
    return total
