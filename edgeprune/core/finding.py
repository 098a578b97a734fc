"""A finding: something about a file that a person should know or mend."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """Something to know or to mend; `op` is an operator's index, None for the whole file."""

    op: int | None
    rule: str
    message: str
    remedy: str
