"""Suggests the closest valid name for a misspelt one."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def suggestion(received: str, valid: Iterable[str]) -> str:
    """` Did you mean '...'?` with the closest valid name; empty if none is close."""
    near = difflib.get_close_matches(received, list(valid), n=1, cutoff=0.5)
    return f" Did you mean '{near[0]}'?" if near else ""
