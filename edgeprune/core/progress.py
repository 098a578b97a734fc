"""Telling a person what is being done, wherever that is shown."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[str, int, int], None]
"""Told what is being done, the step's number and the number of steps."""


def no_progress(what: str, done: int, total: int) -> None:
    """Tells nobody."""
    del what, done, total
