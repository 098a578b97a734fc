"""A finding: something about a file that the user should know or fix."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """Something to know or to fix; `op` is an operator's index, None for the whole file."""

    op: int | None
    rule: str
    message: str
    remedy: str
